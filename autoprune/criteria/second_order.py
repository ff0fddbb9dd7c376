"""What optimal brain damage makes of a diagonal."""

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import gathered
from autoprune.criteria.parameters import layer_weights, unit_sums


class SecondOrder(Criterion):
    """Saliency h w^2 / 2 with a diagonal h of second derivatives (LeCun et al. 1989).

    A unit's is the sum over all of its parameters: filters, biases, batch-norm parameters and the columns
    of the layers that read it. Subclasses name the statistic that holds the diagonal.
    """

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Sum of h w^2 / 2 over each unit."""
        saliency = self._saliency(context)
        return {group.name: unit_sums(group, saliency) for group in context.graph.prunable}

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Saliency h w^2 / 2 of every weight."""
        return layer_weights(context, self._saliency(context))

    def _saliency(self, context: Context) -> dict[str, Tensor]:
        (statistic,) = self.statistics
        found = gathered(context, self.name, statistic)
        return {name: h * context.tensors[name].double().cpu().square() / 2 for name, h in found.items()}
