"""Running one batch for all chosen statistics."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from autoprune.calibration.statistics.gradients import GradientStatistic
from autoprune.calibration.statistics.image_gradients import ImageGradients
from autoprune.calibration.statistics.loss import check_labels, cross_entropy
from autoprune.calibration.statistics.statistic import Statistic, Subject
from autoprune.calibration.statistics.units import UnitStatistic
from autoprune.calibration.statistics.watch import StatisticsWatch
from autoprune.data import Batch
from autoprune.errors import DataError, ModelError
from autoprune.score.batches import call as forward


class Gatherer:
    """Runs a network forwards, and backwards where a statistic needs that, one batch after the other.

    The parameters' `.grad` is never touched.

    Args:
        subject: What is calibrated.
        statistics: The chosen statistics; each starts anew.
    """

    def __init__(self, subject: Subject, statistics: Sequence[Statistic]) -> None:
        self._subject, self._statistics = subject, statistics
        for statistic in statistics:
            statistic.start(subject)
        whole = [s for s in statistics if isinstance(s, GradientStatistic)]
        self._single = [s for s in whole if s.per_image]
        self._mean = [s for s in whole if not s.per_image]
        self._backwards = bool(self._mean) or any(
            s.gradients for s in statistics if isinstance(s, UnitStatistic)
        )
        self._checks = subject.loss is cross_entropy and any(s.gradients for s in statistics)
        self._watch = StatisticsWatch(subject, statistics)
        self._images = ImageGradients(subject)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Let every parameter require gradients, if any statistic does; restore it behind."""
        chosen = self._subject.parameters().values() if any(s.gradients for s in self._statistics) else ()
        before = [(p, p.requires_grad) for p in chosen]
        try:
            for parameter, _ in before:
                parameter.requires_grad_(True)
            yield
        finally:
            for parameter, required in before:
                parameter.requires_grad_(required)

    def check(self, batch: Batch, number: int) -> None:
        """Refuse a batch without labels.

        Raises:
            DataError: A statistic reads labels, and there are none.
        """
        needy = next((s.name for s in self._statistics if s.labels), None)
        if needy is not None and batch.labels is None:
            raise DataError(
                f"the statistic '{needy}' needs labels, but batch {number} of batches has none; "
                "give (inputs, labels) batches"
            )

    def forward(self, batch: Batch, watch: TorchFunctionMode) -> Any:
        """The model's outputs, seen by the statistics and by `watch`."""
        self._watch.images = batch.size
        with torch.set_grad_enabled(self._backwards), watch, self._watch:
            return forward(self._subject.model, batch.inputs)

    def finish(self, batch: Batch, outputs: Any, number: int) -> None:
        """The rest of a batch: gradients, and what statistics do with whole batches.

        Raises:
            DataError: Labels that the default loss cannot take.
        """
        if self._checks and batch.labels is not None:
            check_labels(outputs, batch.labels, number)
        if self._backwards:
            gradients = self._backward(batch, outputs)
            for mean in self._mean:
                mean.add(gradients, batch.size)
        for statistic in self._statistics:
            statistic.batch(batch)
        self._watch.finish()
        for part in self._images(batch) if self._single else ():
            for single in self._single:
                single.add(part, len(next(iter(part.values()))))

    def _backward(self, batch: Batch, outputs: Any) -> dict[str, Tensor]:
        """Gradients of the sum over the images, shape (1, *parameter)."""
        parameters = self._subject.parameters()
        assert batch.labels is not None
        with torch.enable_grad():
            loss = self._subject.loss(outputs, batch.labels) * batch.size
            gradients = torch.autograd.grad(
                loss, list(parameters.values()), allow_unused=True, materialize_grads=True
            )
        return {name: g[None] for name, g in zip(parameters, gradients, strict=True)}

    def results(self) -> dict[str, dict[str, Tensor]]:
        """What every statistic gathered, by its name.

        Raises:
            ModelError: Something is not finite.
        """
        results = {statistic.name: statistic.result() for statistic in self._statistics}
        for name, tensors in results.items():
            for key, tensor in tensors.items():
                if not bool(torch.isfinite(tensor).all()):
                    raise ModelError(
                        f"the statistic '{name}' must be finite, got NaN or infinity for '{key}'; "
                        "check the model and the loss"
                    )
        return results
