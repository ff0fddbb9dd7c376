"""Masks of coupled channels: all that the removed units of a graph occupy."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autoprune.graph.types import PruneGraph
from autoprune.masks.store import Masks


def channel_masks(graph: PruneGraph, keep: Mapping[str, Sequence[int]]) -> Masks:
    """Mask every member of the units that go, over all layers that a group runs through.

    That includes the biases and the batch-norm scale and shift of removed channels, which would otherwise
    feed a constant into the next layer, the input columns of the layers that read them, and the running
    statistics (without an affine part, the running mean alone would feed the constant). A model under these
    masks computes what the sliced model computes.

    Args:
        graph: The traced network.
        keep: Indices of the units that stay, by group name; missing groups are dense.

    Raises:
        ArgumentError: An unknown or locked group, or bad unit indices.
    """
    masks: dict[str, Tensor] = {}
    for name, dims in graph.slices(keep).items():
        mask = torch.ones(graph.fingerprint[name], dtype=torch.bool)
        for dim, stay in dims.items():
            gone = torch.ones(mask.shape[dim], dtype=torch.bool)
            gone[torch.from_numpy(stay)] = False
            mask.index_fill_(dim, gone.nonzero().flatten(), False)
        masks[name] = mask
    return Masks(masks)
