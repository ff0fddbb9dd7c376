"""Masks on a model that can be taken off again without trace."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from autoprune.masks.targets import resolve


class _Saved(NamedTuple):
    gone: Tensor
    values: Tensor


class AppliedMasks(AbstractContextManager["AppliedMasks"]):
    """The masked weights of a model are zero until `remove` puts them back.

    Only the masked weights are remembered. Nothing is attached to the model: tensors are found by name when
    they are needed, so that the model may be moved, copied, saved and trained meanwhile.

    Args:
        masks: Bool tensor by tensor name, True = stays.
        model: Changed in place.

    Raises:
        MaskError: The masks do not fit the model; it is then unchanged.
    """

    @torch.no_grad()
    def __init__(self, masks: Mapping[str, Tensor], model: nn.Module) -> None:
        self._model = model
        self._saved: dict[str, _Saved] = {}
        for name, tensor in resolve(masks, model).items():
            gone = ~masks[name].to(tensor.device)
            self._saved[name] = _Saved(gone, tensor.detach()[gone])
            tensor.masked_fill_(gone, 0)

    @torch.no_grad()
    def remove(self) -> None:
        """Put the remembered weights back, bit by bit; a second call does nothing.

        Weights that stayed keep the value that they have now, so that a model that was not trained
        meanwhile is again what it was before.

        Raises:
            MaskError: The model's tensors have other names or shapes by now; nothing is then changed.
        """
        tensors = resolve({name: saved.gone for name, saved in self._saved.items()}, self._model)
        for name in reversed(self._saved):
            tensor, saved = tensors[name], self._saved[name]
            tensor[saved.gone.to(tensor.device)] = saved.values.to(tensor)
        self._saved = {}

    def bake(self) -> None:
        """Forget the remembered weights: the masked ones stay zero for good."""
        self._saved = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __enter__(self) -> Self:
        return self
