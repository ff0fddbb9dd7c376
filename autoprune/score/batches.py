"""Batches that stay on the device, cut anew."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.data import Batch, Inputs, as_batch
from autoprune.errors import DataError


def resident(batches: Iterable[Any], device: torch.device, batch_size: int) -> list[Batch]:
    """Read batches once and keep them on the device, cut anew into equal parts of at most `batch_size`.

    Raises:
        DataError: No images, or some batches with labels and some without.
    """
    read = [as_batch(raw, f"batch {number} of the images").to(device) for number, raw in enumerate(batches)]
    if not read or all(batch.size == 0 for batch in read):
        raise DataError("the images must not be empty, got no batch; check the loader")
    if len({batch.labels is None for batch in read}) > 1:
        raise DataError("all batches must have labels or none; check the loader")
    whole = Batch(
        _joined([b.inputs for b in read]), None if read[0].labels is None else _cat([b.labels for b in read])
    )
    count = -(-whole.size // batch_size)
    bounds = [whole.size * part // count for part in range(count + 1)]
    return [_part(whole, start, end) for start, end in pairwise(bounds)]


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Run a model on inputs in their plain form."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _cat(tensors: list[Any]) -> Tensor:
    if len({tuple(t.shape[1:]) for t in tensors}) > 1:
        raise DataError("the images of all batches must have one shape; resize or pad them in the loader")
    return torch.cat(tensors)


def _joined(parts: list[Inputs]) -> Inputs:
    first = parts[0]
    if isinstance(first, Tensor):
        return _cat(parts)
    if isinstance(first, dict):
        return {key: _cat([part[key] for part in parts]) for key in first}  # type: ignore[call-overload, index]
    return tuple(_cat([part[i] for part in parts]) for i in range(len(first)))  # type: ignore[index]


def _part(batch: Batch, start: int, end: int) -> Batch:
    inputs, labels = batch
    cut: Inputs
    if isinstance(inputs, Tensor):
        cut = inputs[start:end]
    elif isinstance(inputs, dict):
        cut = {key: value[start:end] for key, value in inputs.items()}
    else:
        cut = tuple(value[start:end] for value in inputs)
    return Batch(cut, None if labels is None else labels[start:end])


def as_channels_last(batch: Batch) -> Batch:
    """The same batch, a single input of four dimensions in channels-last order."""
    if isinstance(batch.inputs, Tensor) and batch.inputs.ndim == 4:
        return Batch(batch.inputs.contiguous(memory_format=torch.channels_last), batch.labels)
    return batch
