"""Blocks of r output by c input channels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from autoprune.errors import ArgumentError
from autoprune.masks.granularity import Units


class Block(Units):
    """Blocks of `rows` x `columns` weights over dimensions 0 and 1, at every kernel position by itself.

    Where a dimension is no multiple of the block, the last block is smaller and a unit of its own: units are
    counted, not weights, and a tail is ranked by its mean like any other.

    Args:
        rows: Extent along dimension 0 (outputs).
        columns: Extent along dimension 1 (inputs).

    Raises:
        ArgumentError: An extent below 1.
    """

    def __init__(self, rows: int, columns: int) -> None:
        if rows < 1 or columns < 1:
            raise ArgumentError(f"a block must have at least one row and one column, got {rows}x{columns}")
        self.rows = rows
        self.columns = columns
        self.name = f"{rows}x{columns}"

    def pool(self, scores: Tensor) -> Tensor:
        """See `Units.pool`; the grid is (row blocks, column blocks, *kernel)."""
        if scores.dim() < 2:
            raise ArgumentError(
                f"scores must have at least 2 dimensions for blocks of {self.name}, "
                f"got shape {tuple(scores.shape)}"
            )
        sums = self._sums(scores)
        sizes = self._sums(torch.ones(scores.shape[:2], dtype=scores.dtype, device=scores.device))
        return sums / sizes.reshape(*sizes.shape, *(1,) * (scores.dim() - 2))

    def expand(self, kept: Tensor, shape: Sequence[int]) -> Tensor:
        """See `Units.expand`."""
        full = kept.repeat_interleave(self.rows, 0).repeat_interleave(self.columns, 1)
        return full[: shape[0], : shape[1]].contiguous()

    def _sums(self, values: Tensor) -> Tensor:
        outputs, inputs, *kernel = values.shape
        below, beside = -outputs % self.rows, -inputs % self.columns
        padded = F.pad(values, (*(0, 0) * len(kernel), 0, beside, 0, below))
        grid = (padded.shape[0] // self.rows, self.rows, padded.shape[1] // self.columns, self.columns)
        return padded.reshape(*grid, *kernel).sum((1, 3))
