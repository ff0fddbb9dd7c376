"""First-order Taylor expansion of the loss in the feature maps."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import of_groups


class TaylorActivation(Criterion):
    """Mean over images of |mean over the map of activation x gradient| (Molchanov et al. 2017).

    The activation is what the layers that read the unit get. Where a unit lies in several tensors (a residual
    stream before each of its blocks) their values add up.
    """

    name: ClassVar[str] = "taylor_activation"
    needs: ClassVar[frozenset[str]] = frozenset({"data", "gradients"})
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"
    statistics: frozenset[str] = frozenset({"taylor_activation"})

    def scores(self, context: Context) -> dict[str, Tensor]:
        """The estimated absolute change in loss per place of the map."""
        return of_groups(context, self.name, "taylor_activation")
