"""The gradient of every single image's loss."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoprune.calibration.statistics.statistic import Subject
from autoprune.data import Batch, Inputs
from autoprune.score.batches import call as forward

logger = logging.getLogger(__name__)

CHUNK = 32
"""Images whose gradients are in memory at a time, at most."""

BYTES = 256 << 20
"""The gradients of a chunk take about so much memory at most."""


class ImageGradients:
    """Gradients of the parameters, image by image, exactly.

    `torch.func.vmap` runs a chunk of images at once; a network that it cannot run (values that decide the
    control flow, for example) is run image by image.

    Args:
        subject: The network and the loss.
        vectorized: Whether to try `vmap`.
    """

    def __init__(self, subject: Subject, vectorized: bool = True) -> None:
        self._subject, self._vectorized = subject, vectorized
        count = sum(p.numel() for p in subject.parameters().values())
        self._chunk = min(CHUNK, max(1, BYTES // (4 * max(count, 1))))

    def __call__(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """Yield gradients of shape (images, *parameter) by parameter, for a few images at a time."""
        assert batch.labels is not None
        for start in range(0, batch.size, self._chunk):
            part = part_of(batch, start, start + self._chunk)
            found = self._mapped(part) if self._vectorized else None
            if found is not None:
                yield found
                continue
            for at in range(part.size):
                yield self._single(part_of(part, at, at + 1))

    def _single(self, image: Batch) -> dict[str, Tensor]:
        parameters = self._subject.parameters()
        with torch.enable_grad():
            loss = self._subject.loss(forward(self._subject.model, image.inputs), image.labels)  # type: ignore[arg-type]
            gradients = torch.autograd.grad(
                loss, list(parameters.values()), allow_unused=True, materialize_grads=True
            )
        return {name: g[None] for name, g in zip(parameters, gradients, strict=True)}

    def _mapped(self, part: Batch) -> dict[str, Tensor] | None:
        assert part.labels is not None
        model, loss = self._subject.model, self._subject.loss
        parameters = {name: p.detach() for name, p in self._subject.parameters().items()}

        def of_image(parameters: dict[str, Tensor], inputs: Inputs, label: Tensor) -> Tensor:
            args, kwargs = _arguments(inputs)
            return loss(torch.func.functional_call(model, parameters, args, kwargs), label[None])

        gradient = torch.func.grad(of_image)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # vmap tells of operators that it runs one by one
                mapped: dict[str, Tensor] = torch.func.vmap(gradient, (None, 0, 0))(
                    parameters, part.inputs, part.labels
                )
        except (RuntimeError, ValueError) as error:
            logger.info("torch.func.vmap cannot run the model, which runs image by image: %s", error)
            self._vectorized = False
            return None
        return mapped


def _arguments(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """One image without its batch dimension, as arguments of the model."""
    if isinstance(inputs, dict):
        return (), {key: value[None] for key, value in inputs.items()}
    return tuple(value[None] for value in (inputs if isinstance(inputs, tuple) else (inputs,))), {}


def part_of(batch: Batch, start: int, stop: int) -> Batch:
    """Images of a batch."""
    inputs: Inputs = pytree.tree_map(lambda t: t[start:stop], batch.inputs)
    return Batch(inputs, None if batch.labels is None else batch.labels[start:stop])
