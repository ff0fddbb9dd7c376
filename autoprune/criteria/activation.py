"""Mean activation."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import of_groups


class Activation(Criterion):
    """Mean absolute activation over images and map; behind a ReLU that is the mean activation.

    The activation is what the layers that read the unit get; several such tensors are averaged.
    """

    name: ClassVar[str] = "activation"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"
    statistics: frozenset[str] = frozenset({"activation"})

    def scores(self, context: Context) -> dict[str, Tensor]:
        """The mean."""
        return of_groups(context, self.name, "activation")
