"""Batches that stay on the device, cut anew."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.data import Batch, Inputs, as_batch
from autoprune.errors import DataError


def resident(
    batches: Iterable[Any], device: torch.device, batch_size: int, *, shuffle: int | None = None
) -> list[Batch]:
    """Read batches once and keep them on the device, cut anew into equal parts of at most `batch_size`.

    Args:
        batches: As in `autoprune.data`.
        device: Where they stay.
        batch_size: Of the parts.
        shuffle: Seed of a random order that the images are put in; None leaves them in theirs.

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
    if shuffle is not None:
        order = torch.randperm(whole.size, generator=torch.Generator().manual_seed(shuffle))
        whole = _mapped(whole, lambda tensor: tensor[order.to(tensor.device)])
    count = -(-whole.size // batch_size)
    bounds = [whole.size * part // count for part in range(count + 1)]
    return [_part(whole, start, end) for start, end in pairwise(bounds)]


def within(batches: Sequence[Batch], start: int, end: int) -> list[Batch]:
    """The images `start` to `end`, in the order of the batches and cut where those are; nothing is copied."""
    ends = list(accumulate(batch.size for batch in batches))
    found = []
    for batch, last in zip(batches, ends, strict=True):
        first = last - batch.size
        low, high = max(start, first), min(end, last)
        if (low, high) == (first, last):
            found.append(batch)
        elif low < high:
            found.append(_part(batch, low - first, high - first))
    return found


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
    return _mapped(batch, lambda tensor: tensor[start:end])


def _mapped(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    inputs, labels = batch
    changed: Inputs
    if isinstance(inputs, Tensor):
        changed = change(inputs)
    elif isinstance(inputs, dict):
        changed = {key: change(value) for key, value in inputs.items()}
    else:
        changed = tuple(change(value) for value in inputs)
    return Batch(changed, None if labels is None else change(labels))


def as_channels_last(batch: Batch) -> Batch:
    """The same batch, a single input of four dimensions in channels-last order."""
    if isinstance(batch.inputs, Tensor) and batch.inputs.ndim == 4:
        return Batch(batch.inputs.contiguous(memory_format=torch.channels_last), batch.labels)
    return batch
