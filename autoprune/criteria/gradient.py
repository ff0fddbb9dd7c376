"""Mean absolute gradient."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import gathered
from autoprune.criteria.parameters import layer_weights, unit_elements, unit_sums


class Gradient(Criterion):
    """Mean absolute gradient: over the images, and for a unit over all its parameters."""

    name: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients", "data"})
    statistics: frozenset[str] = frozenset({"gradient_abs"})
    elementwise: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Mean over the unit's parameters of the mean over images of |g|."""
        found = gathered(context, self.name, "gradient_abs")
        return {
            group.name: unit_sums(group, found) / unit_elements(group, context, found)
            for group in context.graph.prunable
        }

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Mean over images of |g|."""
        return layer_weights(context, gathered(context, self.name, "gradient_abs"))
