"""The dense network with the removed units silenced: what a sliced network must be equal to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from autoprune.errors import ModelError
from autoprune.graph import PruneGraph
from autoprune.graph.export import unwrap
from autoprune.surgery.changes import complement
from autoprune.surgery.slicer import Slices
from autoprune.surgery.tensors import held_tensors


@contextmanager
def masked(model: nn.Module, graph: PruneGraph, keep: Mapping[str, Sequence[int]]) -> Iterator[nn.Module]:
    """Zero all members of the removed units while the block runs; restore every tensor bit by bit behind it.

    Args:
        model: The dense network.
        graph: Its graph.
        keep: Unit indices that stay, by group name; missing groups stay whole.

    Yields:
        The same model.

    Raises:
        ArgumentError: An unknown or locked group, or units that do not exist.
    """
    with zeroed(model, graph.slices(keep)):
        yield model


@contextmanager
def zeroed(model: nn.Module, slices: Slices) -> Iterator[nn.Module]:
    """Like `masked`, from the indices that stay of every tensor and dimension.

    Raises:
        ModelError: The model has no tensor of that name.
    """
    held = held_tensors(unwrap(model))
    saved = []
    try:
        with torch.no_grad():
            for name, dims in slices.items():
                if name not in held:
                    raise ModelError(
                        f"the model has no tensor '{name}' to zero; use slices made for this model"
                    )
                tensor = held[name].tensor
                saved.append((tensor, tensor.detach().clone()))
                for dim, indices in dims.items():
                    gone = torch.from_numpy(complement(indices, tensor.shape[dim])).to(tensor.device)
                    tensor.index_fill_(dim, gone, 0)
        yield model
    finally:
        with torch.no_grad():
            for tensor, before in saved:
                tensor.copy_(before)
