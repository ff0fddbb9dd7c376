"""The search images, resident on the device, with the dense network's outputs on them."""

import copy
import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.data import Batch
from autoprune.errors import ArgumentError, DataError, ModelError
from autoprune.graph.export import device_of, evaluating
from autoprune.score.batches import as_channels_last, call, resident, within
from autoprune.score.precision import PRECISIONS, check_precision, computing_in

logger = logging.getLogger(__name__)

TEMPERATURE = 4.0
"""Of the softmax in the divergence. At 1 a few confident images decide it, and what a few hundred images say
of good candidates hardly holds on others (`python -m benchmarks.score`)."""

WORST = 100.0
"""Largest KL divergence and loss of one image, in nats; what outputs that are not finite count as."""


def logits_of(outputs: Any) -> Tensor:
    """Find the class scores in a model's outputs: a tensor, `.logits`, `["logits"]`, or the first of a tuple.

    Raises:
        ModelError: There is no tensor in any of these places.
    """
    found = outputs
    if not isinstance(found, Tensor):
        found = getattr(outputs, "logits", None)
    if found is None and isinstance(outputs, dict):
        found = outputs.get("logits")
    if found is None and isinstance(outputs, tuple | list) and outputs:
        found = outputs[0]
    if not isinstance(found, Tensor):
        raise ModelError(
            f"the model must return class scores, got {type(outputs).__name__}; "
            "pass a function that finds them as `logits`"
        )
    return found


class SearchImages:
    """A fixed set of images, and how far a candidate's outputs on them are from the dense network's.

    Args:
        model: The dense network, in any mode; untouched.
        batches: Inputs, or (inputs, labels), or dicts, as in `autoprune.data`; kept on the device.
        batch_size: Images per forward pass; None takes 128 on a CPU (the cache decides) and 512 elsewhere.
        channels_last: Keep images of four dimensions in channels-last order, in which a CPU convolves faster;
            candidates should then have such weights too (`Slicer(model, channels_last=True)`). None takes it
            on a CPU if the model can run so (a `view` in its forward may forbid it).
        logits: Finds the class scores, shape (N, classes), in what the model returns.
        temperature: T of the divergence T^2 KL(softmax(dense / T) || softmax(candidate / T)), the softened
            one of Hinton et al. 2015 (arXiv:1503.02531, section 2); 1 is the plain divergence.
        shuffle: Seed of a random order that the images are put in, so that the first of them are a random
            part of all; None leaves them as they come.

    Attributes:
        batches: The images.
        batch_size: Images per forward pass, at most.
        channels_last: Whether they are in that order.
        precision: In which numbers networks compute here, see `at`.

    Raises:
        DataError: No images, images without labels among others with, labels out of range.
        ModelError: The dense network's outputs are not finite or not of shape (N, classes).
        ArgumentError: `batch_size` below 1, `temperature` not above 0.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        *,
        batch_size: int | None = None,
        channels_last: bool | None = None,
        logits: Callable[[Any], Tensor] = logits_of,
        temperature: float = TEMPERATURE,
        shuffle: int | None = None,
    ) -> None:
        if not temperature > 0:
            raise ArgumentError(f"temperature must be above 0, got {temperature}")
        self._temperature = temperature
        device = device_of(model)
        size = (128 if device.type == "cpu" else 512) if batch_size is None else batch_size
        if size < 1:
            raise ArgumentError(f"batch_size must be at least 1, got {size}")
        self._logits, self._device = logits, device
        self.batch_size = size
        self.precision = PRECISIONS[0]
        self.batches = resident(batches, device, size, shuffle=shuffle)
        with evaluating(model):
            wanted = device.type == "cpu" if channels_last is None else channels_last
            self.channels_last = wanted and (
                bool(channels_last) or _runs_channels_last(model, self.batches[0])
            )
            if self.channels_last:
                self.batches = [as_channels_last(batch) for batch in self.batches]
            outputs = self._outputs(model)
        labels = [batch.labels for batch in self.batches]
        self._labels = torch.cat([t for t in labels if t is not None]) if labels[0] is not None else None
        _check_dense(model, outputs, self._labels)
        self._log_dense = (outputs / temperature).log_softmax(1)

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self._log_dense)

    @property
    def labeled(self) -> bool:
        """Whether the images have labels."""
        return self._labels is not None

    def measure(self, candidate: nn.Module) -> dict[str, float]:
        """All metrics of a candidate from one forward pass over the images: the means of `by_image`.

        Args:
            candidate: In eval mode, on the device of the images.

        Returns:
            `kl`: mean of T^2 KL(dense || candidate) at the temperature T, in nats per image; with labels also
            `accuracy` (top-1 share) and `loss` (cross-entropy in nats).

        Raises:
            ModelError: The outputs have another shape than the dense network's.
        """
        return {name: float(values.mean()) for name, values in self.by_image(candidate).items()}

    def by_image(self, candidate: nn.Module, start: int = 0, end: int | None = None) -> dict[str, Tensor]:
        """All metrics of a candidate on each of the images `start` to `end` (None: to the last).

        An image on which the candidate's outputs are not finite, or too far off, counts as `WORST` nats in
        `kl` and `loss` and as wrong in `accuracy`, so that every metric is finite.

        Args:
            candidate: In eval mode, on the device of the images.
            start: The first image.
            end: Behind the last image.

        Returns:
            `kl`, `accuracy` (0 or 1) and `loss` as in `measure`, each of shape (end - start,), float64.

        Raises:
            ModelError: As `measure`.
        """
        log_dense = self._log_dense[start:end]
        outputs = self._outputs(candidate, start, end)
        if outputs.shape != log_dense.shape:
            expected, got = tuple(log_dense.shape), tuple(outputs.shape)
            raise ModelError(f"the candidate must give outputs of shape {expected}, got {got}")
        sane = torch.isfinite(outputs).all(1)
        softened = (outputs / self._temperature).log_softmax(1)
        divergence = (log_dense.exp() * (log_dense - softened)).sum(1) * self._temperature**2
        result = {"kl": _bounded(divergence, sane)}
        if self._labels is not None:
            labels = self._labels[start:end]
            result["accuracy"] = ((outputs.argmax(1) == labels) & sane).double()
            result["loss"] = _bounded(-outputs.log_softmax(1).gather(1, labels[:, None])[:, 0], sane)
        return result

    def at(self, model: nn.Module, precision: str) -> "SearchImages":
        """The same images, on which networks, the dense one too, compute in another precision.

        Convolutions and linear layers are cast (`torch.autocast`); the metrics stay float64.

        Args:
            model: The dense network.
            precision: "float32" (a network as it is), "bfloat16", or on a CUDA device "float16".

        Raises:
            ArgumentError: Another precision, or one that the network cannot run in.
        """
        check_precision(precision, self._device)
        other = copy.copy(self)
        other.precision = precision
        try:
            with evaluating(model):
                outputs = other._outputs(model)
        except RuntimeError as error:
            raise ArgumentError(
                f"precision must be float32 for this network, got '{precision}': {error}"
            ) from error
        if not bool(torch.isfinite(outputs).all()):
            raise ArgumentError(
                f"precision must be float32 for this network, its outputs are not finite in '{precision}'"
            )
        other._log_dense = (outputs / self._temperature).log_softmax(1)
        return other

    @torch.inference_mode()
    def _outputs(self, model: nn.Module, start: int = 0, end: int | None = None) -> Tensor:
        """Class scores of images, shape (N, classes), float64: the metrics are small differences."""
        batches = self.batches if end is None else within(self.batches, start, end)
        with computing_in(self.precision, self._device):
            parts = [self._logits(call(model, batch.inputs)) for batch in batches]
        for part in parts:
            if part.ndim != 2:
                raise ModelError(
                    f"the class scores must have shape (N, classes), got {tuple(part.shape)}; "
                    "pass a function that brings them into this shape as `logits`"
                )
        return torch.cat(parts).double()


@torch.inference_mode()
def _runs_channels_last(model: nn.Module, batch: Batch) -> bool:
    try:
        call(model, as_channels_last(batch.first(2)).inputs)
    except RuntimeError as error:
        logger.info("the model cannot run on channels-last images and gets them as they are: %s", error)
        return False
    return True


def _bounded(values: Tensor, sane: Tensor) -> Tensor:
    """Nats per image; rounding below 0 and all that is beyond `WORST` or not finite is cut."""
    worst = torch.full_like(values, WORST)
    finite = sane & torch.isfinite(values)
    return torch.where(finite, values.clamp(0, WORST), worst)


def _check_dense(model: nn.Module, outputs: Tensor, labels: Tensor | None) -> None:
    if not bool(torch.isfinite(outputs).all()):
        state = model.state_dict().items()
        bad = [
            n
            for n, t in state
            if isinstance(t, Tensor) and t.is_floating_point() and not torch.isfinite(t).all()
        ]
        why = f"its tensor '{bad[0]}' is not finite" if bad else "its weights are finite, so check the images"
        raise ModelError(f"the dense model's outputs must be finite, got NaN or infinity: {why}")
    if labels is None:
        return
    classes = outputs.shape[1]
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"labels must be class indices of shape (N,), got {labels.dtype} of {tuple(labels.shape)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        bad_label = int(labels[(labels < 0) | (labels >= classes)][0])
        raise DataError(f"labels must lie in 0..{classes - 1}, the classes of the model, got {bad_label}")
