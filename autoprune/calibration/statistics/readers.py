"""Where the units of a group can be seen while the network runs."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from autoprune.graph import Axis, Group, Layer, PruneGraph


class Place(NamedTuple):
    """A layer's input or output in which the units of a group lie.

    Attributes:
        group: Name of the group.
        channels: The channels of every unit, shape (size, k).
    """

    group: str
    channels: Tensor


def readers(graph: PruneGraph) -> tuple[dict[str, list[Place]], dict[str, list[Place]]]:
    """Where to look: the inputs of the layers that read a group, or the outputs of those that put it out.

    A layer reads a group along dimension 1 of its weight (0 if transposed), in every convolution group. The
    outputs are for groups that no layer reads.

    Returns:
        Places in the inputs and in the outputs of layers, by name of the layer's weight.
    """
    inputs: dict[str, list[Place]] = {}
    outputs: dict[str, list[Place]] = {}
    for group in graph.prunable:
        read = list(_places(graph, group, reads=True))
        for weight, place in read or _places(graph, group, reads=False):
            (inputs if read else outputs).setdefault(weight, []).append(place)
    return inputs, outputs


def _places(graph: PruneGraph, group: Group, reads: bool) -> Iterator[tuple[str, Place]]:
    layers = {layer.weight: layer for layer in graph.layers}
    for axis in group.axes:
        layer = layers.get(axis.parameter)
        if layer is not None and axis.dim == int(reads != (layer.kind == "conv_transposed")):
            yield layer.weight, Place(group.name, _channels(graph, layer, axis))


def _channels(graph: PruneGraph, layer: Layer, axis: Axis) -> Tensor:
    """Dimension 1 counts inside one convolution group; a unit lies in all of them."""
    indices = torch.from_numpy(axis.indices)
    if axis.dim == 0:
        return indices
    groups, width = layer.groups(graph.widths()), graph.fingerprint[layer.weight][1]
    return (indices[:, None] + torch.arange(groups)[:, None] * width).flatten(1)
