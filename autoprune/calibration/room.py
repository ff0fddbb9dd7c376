"""How many images one pass has room for."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from autoprune.data import Batch, as_batch
from autoprune.graph.export import device_of, evaluating
from autoprune.score.batches import call as forward

PASS_BYTES = 1 << 30
"""Activations of one pass take about so much memory at most."""

AT_ONCE = 6
"""How many of the largest activations are counted as being there at once, copies of kernels included."""

FEWEST = 128
"""So many images are taken however large they are; every candidate is re-fitted on as many."""


def with_room(model: nn.Module, batches: Iterable[Any]) -> tuple[list[Batch], int]:
    """The first images, as many as a pass has room for.

    Args:
        model: Runs on one of them to see how large its activations are; in any mode.
        batches: Inputs, or (inputs, labels), or dicts; all are read, and the rest is let go.

    Returns:
        The batches, the last one cut, and how many images there were altogether.
    """
    kept: list[Batch] = []
    room, total = FEWEST, 0
    for number, raw in enumerate(batches):
        batch = as_batch(raw, f"batch {number} of the images")
        if not total and batch.size:
            room = max(FEWEST, PASS_BYTES // max(1, AT_ONCE * largest_activation(model, batch.first(1))))
        if total < room:
            kept.append(batch.first(room - total))
        total += batch.size
    return kept, total


def largest_activation(model: nn.Module, batch: Batch) -> int:
    """Bytes of the largest tensor that a forward pass in evaluation mode makes."""
    device = device_of(model)
    inputs = batch.to(device).inputs
    watch = _Largest((*model.parameters(), *model.buffers(), *pytree.tree_leaves(inputs)))
    with evaluating(model), torch.no_grad(), watch:
        forward(model, inputs)
    return watch.bytes


class _Largest(TorchFunctionMode):
    """Notes the largest storage that was not there before."""

    def __init__(self, before: Iterable[Tensor]) -> None:
        super().__init__()
        self._before = {tensor.untyped_storage().data_ptr() for tensor in before}
        self.bytes = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the function and look at what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self._before:
                    self.bytes = max(self.bytes, storage.nbytes())
        return result
