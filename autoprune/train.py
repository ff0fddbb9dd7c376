"""A short, plain fine-tuning and the accuracy it is measured by."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autoprune.data import Batch, read
from autoprune.errors import ArgumentError, DataError, ModelError
from autoprune.graph.export import evaluating
from autoprune.score import logits_of
from autoprune.score.batches import call

logger = logging.getLogger(__name__)


def accuracy(model: nn.Module, loader: Iterable[Any]) -> float:
    """Share of images whose largest output is at their label, in [0, 1].

    The model runs in evaluation mode on the device that it is on; its mode is restored.

    Args:
        model: Gives class scores of shape (N, classes).
        loader: Batches (inputs, labels).

    Raises:
        DataError: The loader is empty, or has no labels.
    """
    correct, total = 0, 0
    with inference(model):
        for batch in read(loader, seed=0, name="loader", device=device_of(model)):
            if batch.labels is None:
                raise DataError("loader must give (inputs, labels) to measure an accuracy, got inputs alone")
            correct += int((logits_of(call(model, batch.inputs)).argmax(1) == batch.labels).sum())
            total += batch.size
    return correct / total


def finetune(
    model: nn.Module,
    loader: Iterable[Any],
    epochs: int = 5,
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train `model` in place for a few epochs: Nesterov SGD, cross-entropy, a cosine learning rate.

    Enough to see what a pruned network recovers; a real fine-tuning with augmentation is the user's own.
    The order of a shuffling loader follows from `seed`; the model's mode is restored.

    Args:
        model: Gives class scores of shape (N, classes).
        loader: Batches (inputs, labels), read once per epoch.
        epochs: Number of passes.
        lr: Learning rate of the first step; it falls to 0 along half a cosine.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        seed: Seed of the shuffling and of dropout.
        on_epoch: Called after each epoch with its number (from 1) and its mean loss.

    Returns:
        The mean loss of every epoch.

    Raises:
        ArgumentError: `epochs` below 0.
        DataError: The loader is empty, or has no labels.
        ModelError: The loss is no longer finite.
    """
    if epochs < 0:
        raise ArgumentError(f"epochs must be at least 0, got {epochs}")
    trained = [p for p in model.parameters() if p.requires_grad]
    if epochs == 0 or not trained:
        return []
    optimizer = torch.optim.SGD(trained, lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    losses: list[float] = []
    steps = epochs * _length(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    with _training(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            batches = read(loader, seed=seed + epoch, name="loader", device=device_of(model))
            losses.append(_epoch(model, batches, optimizer, schedule))
            logger.info("epoch %d of %d: loss %.4f", epoch + 1, epochs, losses[-1])
            if on_epoch is not None:
                on_epoch(epoch + 1, losses[-1])
    return losses


def _epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    total, images = 0.0, 0
    for batch in batches:
        if batch.labels is None:
            raise DataError("loader must give (inputs, labels) to fine-tune, got inputs alone")
        loss = functional.cross_entropy(logits_of(call(model, batch.inputs)), batch.labels)
        if not bool(torch.isfinite(loss)):
            raise ModelError(f"the loss must stay finite, got {loss.item()}; fine-tune with a smaller lr")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * batch.size
        images += batch.size
    return total / images


def _length(loader: Iterable[Any]) -> int:
    if isinstance(loader, Sized):
        return len(loader)
    return sum(1 for _ in read(loader, seed=0, name="loader"))


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer."""
    tensor = next(iter(model.parameters()), None)
    return next((b.device for b in model.buffers()), torch.device("cpu")) if tensor is None else tensor.device


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored."""
    with evaluating(model), torch.inference_mode():
        yield


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    with evaluating(model):
        model.train()
        yield
