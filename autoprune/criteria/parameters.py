"""From numbers per parameter element to numbers per unit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context
from autoprune.graph import Axis, Group


def unit_sums(group: Group, values: Mapping[str, Tensor]) -> Tensor:
    """Sum over all elements of a unit: its filters, biases, batch-norm parameters and consumers' columns.

    An element that lies in a unit along two dimensions of one weight counts once.

    Args:
        group: The group.
        values: By name of the parameter, of its shape; other tensors of the group (buffers) are left out.

    Returns:
        Shape (size,), float64.
    """
    total = torch.zeros(group.size, dtype=torch.float64)
    axes = [axis for axis in group.axes if axis.parameter in values]
    for at, axis in enumerate(axes):
        value = values[axis.parameter].double().cpu()
        total += _taken(value.movedim(axis.dim, 0).reshape(value.shape[axis.dim], -1).sum(1), axis).sum(1)
        for other in axes[:at]:
            if other.parameter == axis.parameter and other.dim != axis.dim:
                total -= _overlap(value, other, axis)
    return total


def unit_elements(group: Group, context: Context, names: Mapping[str, Tensor]) -> int:
    """How many elements of the named parameters one unit of a group has, at least 1."""
    ones = {
        axis.parameter: torch.ones(context.tensors[axis.parameter].shape)
        for axis in group.axes
        if axis.parameter in names
    }
    return max(1, int(unit_sums(group, ones)[0]))


def layer_weights(context: Context, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the values that are of a convolution or linear weight."""
    return {x.weight: values[x.weight] for x in context.graph.layers if x.weight in values}


def _taken(sums: Tensor, axis: Axis) -> Tensor:
    return sums[torch.from_numpy(axis.indices)]


def _overlap(value: Tensor, first: Axis, second: Axis) -> Tensor:
    """Sum over the elements that a unit has along both dimensions, shape (size,)."""
    block = value.movedim((first.dim, second.dim), (0, 1)).flatten(2).sum(2)
    rows, columns = torch.from_numpy(first.indices), torch.from_numpy(second.indices)
    return block[rows[:, :, None], columns[:, None]].sum((1, 2))
