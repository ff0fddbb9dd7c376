"""The weights that produce a unit."""

from collections.abc import Callable

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context
from autoprune.graph import Axis, Group


def producers(group: Group, context: Context) -> tuple[Axis, ...]:
    """The axes along which layers put a group out: dimension 0 of weights of convolutions and linear layers.

    Transposed convolutions put out along dimension 1. A group that no layer puts out (a raw parameter, an
    embedding) is described by all its axes over parameters of two or more dimensions, or else by all.
    """
    kinds = {layer.weight: layer.kind for layer in context.graph.layers}
    out = [
        a
        for a in group.axes
        if a.parameter in kinds and a.dim == int(kinds[a.parameter] == "conv_transposed")
    ]
    wide = [a for a in group.axes if context.tensors[a.parameter].dim() > 1]
    return tuple(out or wide or group.axes)


def filter_scores(context: Context, score: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Sum over a group's producers of a score of the filters that put its units out.

    Args:
        context: Graph and tensors.
        score: From the filters of one producer, a row of weights each, of shape (size, weights) and type
            float64, to (size,).

    Returns:
        Shape (size,) by name of every prunable group.
    """
    result = {}
    for group in context.graph.prunable:
        total = torch.zeros(group.size, dtype=torch.float64)
        for axis in producers(group, context):
            weight = context.tensors[axis.parameter].double().movedim(axis.dim, 0).flatten(1)
            index = torch.as_tensor(axis.indices, device=weight.device)
            total += score(weight[index].flatten(1)).cpu()
        result[group.name] = total
    return result


def weights_of(context: Context) -> dict[str, Tensor]:
    """The weights of all convolutions and linear layers, in float64, by name."""
    return {layer.weight: context.tensors[layer.weight].double() for layer in context.graph.layers}
