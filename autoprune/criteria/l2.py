"""Euclidean norm of the weights."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filters import filter_norms


class L2(Criterion):
    """L2 norm of the filters that put a unit out."""

    name: ClassVar[str] = "l2"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Li et al. 2017, arXiv:1608.08710, section 4.3"

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Euclidean norm per unit."""
        return filter_norms(context, lambda rows: rows.square().sum(1).sqrt())
