"""What batch normalization scales a channel with."""

import logging
from typing import ClassVar

import torch
from torch import Tensor, nn

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.l2 import L2
from autoprune.errors import ArgumentError
from autoprune.graph import Axis, Group

logger = logging.getLogger(__name__)


class BNScale(Criterion):
    """Absolute batch-norm scale of a unit, as in network slimming.

    Where a unit runs through several batch norms, their absolute scales are added up.

    A group that runs through no batch norm with a scale gets the L2 norm of its filters instead (logged).
    Within the group this is an order like any other; a ranking across groups should normalise the two
    scales first (`LayerMean(BNScale())`).

    Raises:
        ArgumentError: From `scores`: no group at all runs through a batch norm.
    """

    name: ClassVar[str] = "bn_scale"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Liu et al. 2017, arXiv:1708.06519"

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Absolute scale per unit."""
        scales = _scales(context.model)
        found = {g.name: [a for a in g.axes if a.parameter in scales] for g in context.graph.prunable}
        if not any(found.values()):
            raise ArgumentError(
                f"criterion '{self.name}' must find batch norms with a scale behind the prunable groups, "
                "got a network without; use 'l2' for example"
            )
        norms = {} if all(found.values()) else L2().scores(context)
        result = {}
        for group in context.graph.prunable:
            if found[group.name]:
                result[group.name] = _total(group, found[group.name], context)
            else:
                logger.warning("group '%s' has no batch-norm scale: ordered by its L2 norm", group.name)
                result[group.name] = norms[group.name]
        return result


def _scales(model: nn.Module) -> set[str]:
    """Names of the scales of all batch norms, the first name where one is shared."""
    owned = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None
    }
    return {name for name, parameter in model.named_parameters() if id(parameter) in owned}


def _total(group: Group, axes: list[Axis], context: Context) -> Tensor:
    total = torch.zeros(group.size, dtype=torch.float64)
    for axis in axes:
        scale = context.tensors[axis.parameter].double().abs().cpu()
        total += scale[torch.as_tensor(axis.indices)].sum(1)
    return total
