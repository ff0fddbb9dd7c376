"""Share of zeros."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import of_groups


class Apoz(Criterion):
    """Share of a unit's activations that are not 0: 1 - APoZ, so that higher stays (Hu et al. 2016).

    The activation is what the layers that read the unit get; several such tensors are averaged.
    """

    name: ClassVar[str] = "apoz"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    source: ClassVar[str] = "Hu et al. 2016, arXiv:1607.03250"
    statistics: frozenset[str] = frozenset({"nonzero"})

    def scores(self, context: Context) -> dict[str, Tensor]:
        """1 minus the average percentage of zeros, in 0..1."""
        return of_groups(context, self.name, "nonzero")
