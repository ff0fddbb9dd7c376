"""The size of the weights."""

from math import isfinite
from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filters import filter_scores, weights_of
from autoprune.errors import ArgumentError


class Magnitude(Criterion):
    """Lp norm of the filters that put a unit out, or of single weights.

    Args:
        p: Order of the norm, above 0.

    Raises:
        ArgumentError: p is no finite number above 0.
    """

    name: ClassVar[str] = "magnitude"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Li et al. 2017, arXiv:1608.08710"
    elementwise: ClassVar[bool] = True

    def __init__(self, p: float = 1) -> None:
        if not (isinstance(p, int | float) and isfinite(p) and p > 0):
            raise ArgumentError(f"p must be a finite number above 0, got {p!r}")
        self.p = p

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Norm per unit, summed over the layers that put it out."""
        return filter_scores(context, lambda rows: rows.norm(self.p, dim=1))

    def elements(self, context: Context) -> dict[str, Tensor]:
        """`|w|^p`: by the mean of it, vectors of one length are ordered as by their norm."""
        return {name: weight.abs().pow(self.p) for name, weight in weights_of(context).items()}
