"""What a removable piece of one weight tensor is, and masks that keep the best pieces."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.errors import ArgumentError
from autoprune.masks.select import check_sparsity, floating, keep_best


class Granularity(ABC):
    """Makes a mask for one weight tensor from scores of the same shape; higher = stays.

    Attributes:
        name: What `granularity(name)` makes the same object from.
    """

    name: str

    @abstractmethod
    def mask(self, scores: Tensor, sparsity: float) -> Tensor:
        """Bool tensor of the shape of `scores`, True = stays.

        Equal scores are told apart by their index: the first stays.

        Args:
            scores: One score per weight; `inf` and `-inf` are allowed, NaN is not.
            sparsity: Share to prune, in 0..1.

        Raises:
            ArgumentError: A sparsity outside 0..1, NaN scores, or too few dimensions.
        """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Granularity) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"granularity('{self.name}')"


class Units(Granularity):
    """A granularity whose tensor splits into units that stay or go as a whole.

    `round(sparsity * units)` units go (half to even, as in `torch.nn.utils.prune`), those with the lowest
    mean score. The mean makes units of different sizes comparable: tails of blocks, layers in a global
    ranking.
    """

    @abstractmethod
    def pool(self, scores: Tensor) -> Tensor:
        """The mean score of every unit; the shape is that of the units' grid.

        Raises:
            ArgumentError: The tensor has too few dimensions.
        """

    @abstractmethod
    def expand(self, kept: Tensor, shape: Sequence[int]) -> Tensor:
        """The mask of a tensor of that shape in which the units of `kept` (bool, as from `pool`) stay."""

    def mask(self, scores: Tensor, sparsity: float) -> Tensor:
        """See `Granularity.mask`."""
        check_sparsity(sparsity)
        pooled = self.pool(floating(scores))
        pruned = round(sparsity * pooled.numel())
        return self.expand(keep_best(pooled, pooled.numel() - pruned), scores.shape)


class _Slices(Units):
    """Units that are fixed by their index along some dimensions and span all others."""

    _fewest: int

    @abstractmethod
    def _along(self, dims: int) -> tuple[int, ...]:
        """The dimensions that tell units apart, of a tensor with that many."""

    def pool(self, scores: Tensor) -> Tensor:
        if scores.dim() < self._fewest:
            raise ArgumentError(
                f"scores must have at least {self._fewest} dimensions for the granularity '{self.name}', "
                f"got shape {tuple(scores.shape)}"
            )
        along = self._along(scores.dim())
        rest = tuple(d for d in range(scores.dim()) if d not in along)
        return scores.mean(rest) if rest else scores

    def expand(self, kept: Tensor, shape: Sequence[int]) -> Tensor:
        along = self._along(len(shape))
        thin = [n if d in along else 1 for d, n in enumerate(shape)]
        return kept.reshape(thin).expand(tuple(shape)).clone(memory_format=torch.contiguous_format)


class Weight(_Slices):
    """Single weights: unstructured pruning."""

    name = "weight"
    _fewest = 0

    def _along(self, dims: int) -> tuple[int, ...]:
        return tuple(range(dims))


class Row(_Slices):
    """Row vectors: the weights along the last dimension (of a matrix, or of each kernel)."""

    name = "row"
    _fewest = 2

    def _along(self, dims: int) -> tuple[int, ...]:
        return tuple(range(dims - 1))


class Column(_Slices):
    """Column vectors: the weights along the last dimension but one (of a matrix, or of each kernel)."""

    name = "column"
    _fewest = 2

    def _along(self, dims: int) -> tuple[int, ...]:
        return (*range(dims - 2), dims - 1)


class Kernel(_Slices):
    """Convolution kernels: the spatial weights of one output and input channel."""

    name = "kernel"
    _fewest = 3

    def _along(self, dims: int) -> tuple[int, ...]:
        return (0, 1)


class Filter(_Slices):
    """Filters: all weights of one index of dimension 0 (an output channel).

    Pieces of this tensor alone; channels that are coupled over layers are masked by `channel_masks`.
    """

    name = "filter"
    _fewest = 1

    def _along(self, dims: int) -> tuple[int, ...]:
        return (0,)


class Channel(_Slices):
    """Input channels: all weights of one index of dimension 1 (see `Filter` on coupling)."""

    name = "channel"
    _fewest = 2

    def _along(self, dims: int) -> tuple[int, ...]:
        return (1,)
