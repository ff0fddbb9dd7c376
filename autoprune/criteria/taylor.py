"""First-order Taylor expansion of the loss in the weights."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import gathered
from autoprune.criteria.parameters import layer_weights, unit_sums


class Taylor(Criterion):
    """Squared first-order change of the loss when a unit is removed (Molchanov et al. 2019).

    `(sum over the unit's weights of g w)^2` with g the gradient of the mean loss over all calibration
    images, accumulated over the whole pass before it is squared. A unit's weights are all of its
    parameters: filters, biases, batch-norm parameters and the columns of the layers that read it.
    """

    name: ClassVar[str] = "taylor"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "data"})
    source: ClassVar[str] = "Molchanov et al. 2019, arXiv:1906.10771"
    statistics: frozenset[str] = frozenset({"gradient"})
    elementwise: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Square of the sum of g w over each unit."""
        products = self._products(context)
        return {group.name: unit_sums(group, products).square() for group in context.graph.prunable}

    def elements(self, context: Context) -> dict[str, Tensor]:
        """(g w)^2 of every weight."""
        return {name: t.square() for name, t in layer_weights(context, self._products(context)).items()}

    def _products(self, context: Context) -> dict[str, Tensor]:
        found = gathered(context, self.name, "gradient")
        return {name: g * context.tensors[name].double().cpu() for name, g in found.items()}
