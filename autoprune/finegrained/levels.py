"""The masks of one layer at every density that a search may choose."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoprune.errors import ArgumentError
from autoprune.masks import NM, Granularity, WindowedNM

Vector = NDArray[np.int64]


class Levels:
    """One weight tensor, pruned to any of `size` densities; width w keeps the share w / size.

    Args:
        scores: One score per weight; higher = stays.
        granularity: What stays or goes as a whole. For a pattern `n:M` the width is N, and `size` is M.
        size: Number of densities of any other granularity.

    Raises:
        ArgumentError: `size` below 1, or a pattern that leaves no choice, such as 2:4.
    """

    def __init__(self, scores: Tensor, granularity: Granularity, size: int) -> None:
        if isinstance(granularity, NM):
            raise ArgumentError(
                f"granularity must leave the density to the search, but {granularity.name} fixes it; "
                f"give 'n:{granularity.m}'"
            )
        if size < 1:
            raise ArgumentError(f"levels must be at least 1, got {size}")
        self.size = granularity.m if isinstance(granularity, WindowedNM) else size
        self._scores, self._granularity = scores, granularity

    def mask(self, width: int) -> Tensor:
        """Bool, of the weight's shape, True = stays; at the full width everything does.

        A width at which rounding would leave nothing has the mask of the next one that leaves something.
        """
        for level in range(width, self.size):
            mask = self._granularity.mask(self._scores, 1 - level / self.size)
            if bool(mask.any()):
                return mask
        return torch.ones_like(self._scores, dtype=torch.bool)

    @cached_property
    def kept(self) -> Vector:
        """How many weights stay, shape (size + 1,), counted on the masks; index 0 is a layer without any."""
        return self.sums(lambda mask: int(mask.sum())).astype(np.int64)

    def sums(self, of: Callable[[Tensor], float]) -> NDArray[np.float64]:
        """A number of every mask, shape (size + 1,)."""
        return np.array([0.0, *(of(self.mask(width)) for width in range(1, self.size + 1))])
