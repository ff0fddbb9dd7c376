"""The images that a search reads: splits, a fixed first part of any loader, the forms of a batch."""

import hashlib
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import ArgumentError, DataError

Inputs: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
LABEL_KEYS = ("labels", "label", "targets", "target", "y")


@runtime_checkable
class Splits(Protocol):
    """What a search needs of its data; any object with these attributes will do, a NamedTuple for example.

    Attributes:
        train: Re-iterable batches (a DataLoader or a list) for calibration and batch-norm statistics.
        search_val: Re-iterable batches that candidates are scored on; disjoint from `train`.
    """

    @property
    def train(self) -> Iterable[Any]:
        """Batches for calibration."""

    @property
    def search_val(self) -> Iterable[Any]:
        """Batches for scores."""


@dataclass(frozen=True)
class DataSplits:
    """Disjoint parts of a data set, as loaders.

    A batch is a tensor of inputs, a pair (inputs, labels), or a dict whose labels are named one of
    `labels, label, targets, target, y`. Labels are class indices; a search with the KL score needs none.

    Attributes:
        train: For calibration, batch-norm statistics and fine-tuning.
        search_val: For the score of a candidate.
        test: For the final report alone; no search ever touches it.
    """

    train: Iterable[Any]
    search_val: Iterable[Any]
    test: Iterable[Any] | None = None


class Batch(NamedTuple):
    """One batch in its plain form; `labels` of shape (N,), or None."""

    inputs: Inputs
    labels: Tensor | None

    @property
    def size(self) -> int:
        """Number of images."""
        return len(_tensors(self.inputs)[0])

    def first(self, count: int) -> "Batch":
        """The first `count` images."""
        return self if count >= self.size else _map(self, lambda t: t[:count])

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return _map(self, lambda t: t.to(device))


def _tensors(inputs: Inputs) -> list[Tensor]:
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values()) if isinstance(inputs, dict) else list(inputs)


def _map(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    inputs, labels = batch
    changed: Inputs
    if isinstance(inputs, Tensor):
        changed = change(inputs)
    elif isinstance(inputs, dict):
        changed = {key: change(value) for key, value in inputs.items()}
    else:
        changed = tuple(change(value) for value in inputs)
    return Batch(changed, None if labels is None else change(labels))


def as_batch(batch: Any, name: str = "batch") -> Batch:
    """Bring any accepted form of a batch into the plain one.

    Args:
        batch: A tensor; (inputs,), (inputs, labels) or (input, ..., input, labels); or a dict of tensors.
        name: What to call the batch in an error.

    Raises:
        DataError: Another form, or tensors of unequal length.
    """
    labels: Any = None
    inputs: Any
    if isinstance(batch, Mapping):
        labels = next((batch[key] for key in LABEL_KEYS if key in batch), None)
        rest = {str(key): value for key, value in batch.items() if key not in LABEL_KEYS}
        inputs = next(iter(rest.values())) if len(rest) == 1 else rest
    elif isinstance(batch, tuple | list) and batch:
        *parts, labels = batch if len(batch) > 1 else (*batch, None)
        inputs = parts[0] if len(parts) == 1 else tuple(parts)
    else:
        inputs = batch
    return _checked(inputs, labels, name)


def _checked(inputs: Any, labels: Any, name: str) -> Batch:
    tensors = _tensors(inputs) if isinstance(inputs, dict | tuple) else [inputs]
    if not tensors or not all(isinstance(t, Tensor) and t.ndim > 0 for t in tensors):
        raise DataError(
            f"{name} must be a tensor, (inputs, labels) or a dict of tensors, got {type(inputs).__name__}; "
            "wrap the loader so that it yields one of these"
        )
    if labels is not None and not isinstance(labels, Tensor):
        labels = torch.as_tensor(labels)
    lengths = {len(t) for t in tensors} | (set() if labels is None else {len(labels)})
    if len(lengths) != 1:
        raise DataError(f"{name} must hold as many labels as inputs, got lengths {sorted(lengths)}")
    for tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{name} must hold finite inputs, got NaN or infinity; clean the data first")
    return Batch(inputs, labels)


def read(
    loader: Iterable[Any], *, seed: int, name: str, device: torch.device | None = None
) -> Iterator[Batch]:
    """Read a loader in its plain form, with the order and the augmentation that `seed` gives.

    A loader draws from global generators (torch, numpy, random) or from its own; all of them are seeded
    for the pass and restored around every batch, so that the caller's randomness is untouched.

    Args:
        loader: Re-iterable batches.
        seed: Of everything the loader draws.
        name: What to call the loader in an error, for example `data.train`.
        device: Where the batches go; None leaves them where they are.

    Raises:
        ArgumentError: The loader can be read only once, or not at all.
        DataError: The loader is empty, or a batch is malformed or not finite.
    """
    if isinstance(loader, Iterator) or not hasattr(loader, "__iter__"):
        raise ArgumentError(
            f"{name} must be a loader that can be read again (a DataLoader or a list of batches), "
            f"got {type(loader).__name__}"
        )
    number = -1
    for number, raw in enumerate(_seeded(loader, seed)):
        batch = as_batch(raw, f"batch {number} of {name}")
        yield batch if device is None else batch.to(device)
    if number < 0:
        raise DataError(f"{name} must hold at least one image, got an empty loader")


class FirstImages:
    """The first images of a loader, the same in every pass; read anew each time so that none stays in memory.

    Args:
        loader: Re-iterable batches, read with `read`.
        count: How many images; fewer are used when the loader holds fewer.
        seed: Which images a shuffling loader gives.
        name: What to call the loader in an error, for example `data.train`.
        device: Where the batches go; None leaves them where they are.

    Raises:
        ArgumentError: `count` below 1.
    """

    def __init__(
        self, loader: Iterable[Any], count: int, *, seed: int, name: str, device: torch.device | None = None
    ) -> None:
        if count < 1:
            raise ArgumentError(f"the number of images of {name} must be at least 1, got {count}")
        self._loader, self._count, self._seed, self._name, self._device = loader, count, seed, name, device
        self._digest: str | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; the last one is cut.

        Raises:
            DataError: As in `read`, or this pass differs from the one before.
        """
        left, digest = self._count, hashlib.sha256()
        for whole in read(self._loader, seed=self._seed, name=self._name):
            batch = whole.first(left)
            left -= batch.size
            update_digest(digest, batch)
            yield batch if self._device is None else batch.to(self._device)
            if left <= 0:
                break
        self._compare(digest.hexdigest())

    def counted(self, step: Callable[[int, int], None]) -> Iterator[Batch]:
        """One pass that tells `step` how many images of how many have been read, 0 at first."""
        done = 0
        step(done, self._count)
        for batch in self:
            yield batch
            done += batch.size
            step(done, self._count)

    def _compare(self, digest: str) -> None:
        if self._digest not in (None, digest):
            raise DataError(
                f"{self._name} must give the same images in every pass with one seed; "
                "seed the workers of the loader or turn random augmentation off"
            )
        self._digest = digest

    @property
    def digest(self) -> str:
        """SHA-256 of the images and labels; reads them if no pass has been made yet."""
        if self._digest is None:
            for _ in self:
                pass
        assert self._digest is not None
        return self._digest


def _seeded(loader: Iterable[Any], seed: int) -> Generator[Any, None, None]:
    randomness = _LoaderRandomness(loader, seed)
    with randomness:
        iterator = iter(loader)
    while True:
        with randomness:
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


class _LoaderRandomness:
    """A private state of every generator that a loader may draw from; current only inside `with`."""

    def __init__(self, loader: Iterable[Any], seed: int) -> None:
        self._generators = [torch.default_generator, *_generators(loader)]
        self._seed = seed
        self._mine: Any = None
        self._other: Any = None

    def __enter__(self) -> None:
        self._other = self._get()
        if self._mine is not None:
            self._set(self._mine)
            return
        for generator in self._generators:
            generator.manual_seed(self._seed)
        np.random.seed(self._seed % 2**32)
        random.seed(self._seed)

    def __exit__(self, *_: object) -> None:
        self._mine = self._get()
        self._set(self._other)

    def _get(self) -> Any:
        return [g.get_state() for g in self._generators], np.random.get_state(), random.getstate()

    def _set(self, state: Any) -> None:
        for generator, own in zip(self._generators, state[0], strict=True):
            generator.set_state(own)
        np.random.set_state(state[1])
        random.setstate(state[2])


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators that a DataLoader and its samplers own."""
    nested = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    owners = [loader, getattr(loader, "sampler", None), nested]
    found = {id(g): g for o in owners if isinstance(g := getattr(o, "generator", None), torch.Generator)}
    return list(found.values())


def update_digest(digest: Any, batch: Batch) -> None:
    """Feed names, types, shapes and bytes of a batch into a hash."""
    keys = list(batch.inputs) if isinstance(batch.inputs, dict) else [""]
    tensors = _tensors(batch.inputs) + ([] if batch.labels is None else [batch.labels])
    digest.update(repr((keys, [(str(t.dtype), tuple(t.shape)) for t in tensors])).encode())
    for tensor in tensors:
        digest.update(tensor_bytes(tensor))


def tensor_bytes(tensor: Tensor) -> bytes:
    """The elements of a tensor of any type, as contiguous bytes."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
