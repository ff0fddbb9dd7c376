"""The accuracy that a network is measured by, and the mode that it is measured in."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from autoprune.data import read
from autoprune.errors import DataError
from autoprune.graph.export import device_of, evaluating
from autoprune.score import logits_of
from autoprune.score.batches import call


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


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored."""
    with evaluating(model), torch.inference_mode():
        yield


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Training mode; every module's own mode is restored."""
    with evaluating(model):
        model.train()
        yield
