"""The store of masks: which weights of a network stay."""

from collections.abc import Callable, Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoprune.errors import ArgumentError, MaskError
from autoprune.files import StrPath
from autoprune.masks.applied import AppliedMasks
from autoprune.masks.enforcement import Enforcement
from autoprune.masks.storage import read_masks, write_masks
from autoprune.masks.targets import resolve


class Masks(Mapping[str, Tensor]):
    """`{tensor name: bool tensor of the tensor's shape}`, True = the weight stays.

    Names are `state_dict` names. A tensor without a mask stays whole, so that two stores are equal when they
    prune the same weights: masks that are True everywhere make no difference. A store is not changed after
    its construction; `&` and `|` make new ones. Do not write to the tensors that it hands out.

    What can be done with masks and a model:

    - `apply` zeroes the masked weights and remembers them; `remove` on what it returns, or leaving it as a
      context manager, puts them back bit by bit.
    - `bake` zeroes them for good.
    - `enforce` keeps them zero while a model trains.

    None of them leaves a hook, a buffer or another trace on the model or the optimizer.

    Raises:
        ArgumentError: A mask is not a bool tensor.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in masks.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise ArgumentError(f"masks['{name}'] must be a bool tensor (True = stays), got {kind}")
        self._masks = {name: mask.detach().clone() for name, mask in masks.items()}

    @classmethod
    def from_zeros(cls, model: nn.Module) -> Self:
        """Masks of the zeros that the weights of a model already have.

        Only parameters of two or more dimensions are looked at: a bias or a shift that is zero need not have
        been pruned.
        """
        found = {name: p.detach() != 0 for name, p in model.named_parameters() if p.dim() >= 2}
        return cls({name: mask for name, mask in found.items() if not bool(mask.all())})

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Read masks that `save` wrote.

        Raises:
            MaskError: The file is missing, damaged, or no masks file.
        """
        return cls(read_masks(path))

    def save(self, path: StrPath) -> None:
        """Write the masks as safetensors in one step, eight to a byte, with names and shapes as JSON."""
        write_masks(path, self._masks)

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __and__(self, other: "Masks") -> "Masks":
        """What stays in both: the pruned weights of either are pruned.

        Raises:
            MaskError: Masks of one name differ in shape.
        """
        return self._combined(other, torch.logical_and)

    def __or__(self, other: "Masks") -> "Masks":
        """What stays in either: only weights that both prune are pruned.

        Raises:
            MaskError: Masks of one name differ in shape.
        """
        return self._combined(other, torch.logical_or)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        mine, theirs = self._pruning(), other._pruning()
        return mine.keys() == theirs.keys() and all(
            mask.shape == theirs[name].shape and torch.equal(mask, theirs[name].to(mask.device))
            for name, mask in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Masks({len(self)} tensors, {self.total} weights, {self.sparsity:.2%} sparse)"

    @property
    def total(self) -> int:
        """Number of weights that have a mask."""
        return sum(mask.numel() for mask in self._masks.values())

    @property
    def kept(self) -> int:
        """Number of masked weights that stay."""
        return sum(int(mask.sum()) for mask in self._masks.values())

    @property
    def sparsity(self) -> float:
        """Share of pruned weights over all tensors that have a mask, in 0..1 (0 without masks)."""
        return 1 - self.kept / self.total if self.total else 0.0

    @property
    def sparsities(self) -> dict[str, float]:
        """Share of pruned weights of every tensor that has a mask, in 0..1."""
        return {n: 1 - int(m.sum()) / m.numel() if m.numel() else 0.0 for n, m in self._masks.items()}

    def to(self, device: torch.device | str) -> "Masks":
        """The same masks on a device."""
        return Masks({name: mask.to(device) for name, mask in self._masks.items()})

    def apply(self, model: nn.Module) -> AppliedMasks:
        """Zero the masked weights of `model` in place and remember what was there.

        Returns:
            The applied masks: `.remove()` puts the remembered weights back bit by bit and leaves all others
            as they are by then; `.bake()` forgets them; as a context manager it removes at the end. Masks
            that are applied on top of each other are removed in reverse order.

        Raises:
            MaskError: The masks do not fit the model; it is then unchanged.
        """
        return AppliedMasks(self._masks, model)

    def bake(self, model: nn.Module) -> None:
        """Zero the masked weights of `model` in place, for good.

        Raises:
            MaskError: The masks do not fit the model; it is then unchanged.
        """
        with torch.no_grad():
            for name, tensor in resolve(self._masks, model).items():
                tensor.masked_fill_(~self._masks[name].to(tensor.device), 0)

    def enforce(self, model: nn.Module, *optimizers: Optimizer) -> Enforcement:
        """A context manager that keeps the masked weights of `model` zero while it trains.

        Args:
            model: The bare model (not a `DistributedDataParallel` or other wrapper, whose names differ).
            optimizers: Every optimizer that changes it (torch's own; unwrap that of a framework).

        Raises:
            ArgumentError: Not an optimizer.
            MaskError: The masks do not fit the model.
        """
        return Enforcement(self._masks, model, optimizers)

    def _pruning(self) -> dict[str, Tensor]:
        return {name: mask for name, mask in self._masks.items() if not bool(mask.all())}

    def _combined(self, other: "Masks", operation: Callable[[Tensor, Tensor], Tensor]) -> "Masks":
        """Masks of all names of both; a name that one of them lacks stays whole there."""
        result: dict[str, Tensor] = {}
        for name in dict.fromkeys((*self, *other)):
            one = self[name] if name in self else torch.ones_like(other[name])
            two = other[name].to(one.device) if name in other else torch.ones_like(one)
            if one.shape != two.shape:
                raise MaskError(
                    f"masks['{name}'] have shapes {tuple(one.shape)} and {tuple(two.shape)}: "
                    "only masks of one network can be combined"
                )
            result[name] = operation(one, two)
        return Masks(result)
