"""Sum of absolute weights."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filters import filter_norms


class L1(Criterion):
    """L1 norm of the filters that put a unit out (Li et al. 2017, arXiv:1608.08710, section 3.1)."""

    name: ClassVar[str] = "l1"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Li et al. 2017, arXiv:1608.08710"

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Sum of absolute weights per unit."""
        return filter_norms(context, lambda rows: rows.abs().sum(1))
