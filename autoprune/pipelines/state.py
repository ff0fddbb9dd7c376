"""All that a pipeline must remember to go on after it was killed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.masks import Masks
from autoprune.run.checks import tensors_of

_SEPARATOR = ":"
_JSON = ("round", "pruned", "row", "history", "keep", "notes", "session")


@dataclass
class State:
    """Where a pipeline stands.

    Attributes:
        round: Rounds that are finished.
        pruned: Whether the running round has pruned already.
        row: The running round's row of the history.
        history: Rows of the finished rounds.
        keep: Units that stay, by name of the group that lost some.
        notes: Whatever else a pipeline must know, as JSON values.
        session: The JSON part of the running training; None between trainings.
        masks: Weights that stay.
        optimizer: The tensors of the running training.
        copies: Tensors of the model at other times, by name of the time.
    """

    round: int = 0
    pruned: bool = False
    row: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    keep: dict[str, list[int]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    session: dict[str, Any] | None = None
    masks: Masks = field(default_factory=lambda: Masks({}))
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    copies: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def pack(self, model: nn.Module) -> dict[str, Any]:
        """Model and state as tensors and JSON values by name."""
        parts: dict[str, Mapping[str, Tensor]] = {"model": tensors_of(model), "mask": self.masks}
        parts["optimizer"] = self.optimizer
        parts |= {f"copy {name}": tensors for name, tensors in self.copies.items()}
        packed: dict[str, Any] = {
            f"{part}{_SEPARATOR}{name}": tensor for part, own in parts.items() for name, tensor in own.items()
        }
        return packed | {name: getattr(self, name) for name in _JSON}

    @classmethod
    def unpack(cls, packed: Mapping[str, Any], model: nn.Module) -> "State":
        """The state that `pack` was called on; the model gets its tensors back."""
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in packed.items():
            if isinstance(value, Tensor):
                part, _, name = key.partition(_SEPARATOR)
                parts.setdefault(part, {})[name] = value
        write(model, parts.pop("model"))
        masks, optimizer = Masks(parts.pop("mask", {})), parts.pop("optimizer", {})
        copies = {name.removeprefix("copy "): tensors for name, tensors in parts.items()}
        return cls(**{name: packed[name] for name in _JSON}, masks=masks, optimizer=optimizer, copies=copies)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter and buffer by name."""
    return {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}


@torch.no_grad()
def write(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back, bit by bit, what `snapshot` took."""
    own = tensors_of(model)
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
