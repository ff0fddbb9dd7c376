"""Second moments of what a layer multiplies its weight with."""

from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.errors import ModelError


@dataclass(frozen=True, eq=False)
class Moment:
    """E[x x^T] and E[x] over sampled input patches x of one layer.

    Attributes:
        second: Shape (groups, d, d), float64; d = inputs / groups * kernel, ordered as `weight.flatten(1)`.
        mean: Shape (groups, d), float64.
        rows: How many patches.
    """

    second: Tensor
    mean: Tensor
    rows: int

    @property
    def centered(self) -> Tensor:
        """Covariance, shape (groups, d, d)."""
        return self.second - self.mean[:, :, None] * self.mean[:, None, :]


class Accumulator:
    """Sums of x x^T and x over batches."""

    def __init__(self) -> None:
        self._second: Tensor | None = None
        self._sum: Tensor | None = None
        self._rows = 0

    def add(self, rows: Tensor) -> None:
        """Add patches of shape (groups, rows, d); products in their precision, sums in float64."""
        second, total = (rows.mT @ rows).double(), rows.sum(1).double()
        self._second = second if self._second is None else self._second.add_(second)
        self._sum = total if self._sum is None else self._sum.add_(total)
        self._rows += rows.shape[1]

    def moment(self, name: str) -> Moment:
        """The means.

        Raises:
            ModelError: They are not finite; `name` is the layer's.
        """
        assert self._second is not None and self._sum is not None
        if not bool(torch.isfinite(self._second).all()):
            raise ModelError(f"the inputs of '{name}' must be finite, got NaN or infinity; check the model")
        return Moment(self._second / self._rows, self._sum / self._rows, self._rows)


def ridge_of(second: Tensor, ridge: float) -> Tensor:
    """`ridge` times the mean of the diagonal, shape (groups,); a tiny positive number where that is 0."""
    mean = second.diagonal(dim1=-2, dim2=-1).mean(-1)
    return (ridge * mean).clamp_min(torch.finfo(second.dtype).tiny * 1e8)
