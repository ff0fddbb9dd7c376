"""Batch-norm statistics of a network whose weights have changed."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.intercept import NormCall, Watch
from autoprune.data import as_batch
from autoprune.errors import DataError
from autoprune.graph.export import evaluating, unwrap
from autoprune.score.batches import call as forward


def recalibrate_bn(model: nn.Module, batches: Iterable[Any]) -> None:
    """Re-estimate the running statistics, in place: mean and unbiased variance over all images.

    Every batch runs once. Inside a batch the layers normalize with the batch's own statistics, so that one
    large batch is exact and several small ones differ slightly with their composition; the stored mean and
    variance are pooled over all batches exactly. Everything but batch norm stays in evaluation mode; a
    momentum plays no role, and batch norms without running statistics are left alone.

    Args:
        model: The network; its modes, momenta and counters of batches are as before.
        batches: Inputs, or (inputs, labels), or dicts.

    Raises:
        DataError: No image, or a batch that gives a batch norm a single value per channel.
    """
    model = unwrap(model)
    tensors = dict(model.named_buffers())
    watch = _Statistics(model)
    images = 0
    with evaluating(model), torch.no_grad():
        for number, raw in enumerate(batches):
            batch = as_batch(raw, f"batch {number} of batches")
            images += batch.size
            if batch.size:
                with watch:
                    forward(model, batch.inputs)
    if images == 0:
        raise DataError("batches must hold at least one image, got none; check the loader")
    for (mean, variance), pool in watch.pools.items():
        tensors[mean].copy_(pool.mean)
        tensors[variance].copy_(pool.variance)


class _Statistics(Watch):
    """Lets every batch norm use the batch's statistics, and pools them; the running ones are not touched."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, ())
        self.pools: dict[tuple[str, str], _Pool] = {}

    def on_norm(self, call: NormCall) -> Tensor:
        inputs: Tensor = call.named["input"]
        count = inputs.numel() // inputs.shape[1]
        if count < 2:
            raise DataError(
                f"batches must give '{call.norm.mean}' more than one value per channel, "
                f"got inputs of shape {tuple(inputs.shape)}; use larger batches"
            )
        mean, variance = (torch.zeros_like(call.named[key]) for key in ("running_mean", "running_var"))
        output = call.run(running_mean=mean, running_var=variance, training=True, momentum=1.0)
        self.pools.setdefault((call.norm.mean, call.norm.variance), _Pool()).add(mean, variance, count)
        return output


class _Pool:
    """Mean and variance over several batches (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Add a batch of `count` values with this mean and unbiased variance."""
        total = self._count + count
        difference = mean.double() - self.mean.to(mean.device)
        between = difference**2 * (self._count * count / total)
        self._squares = self._squares.to(mean.device) + variance.double() * (count - 1) + between
        self.mean = self.mean.to(mean.device) + difference * (count / total)
        self._count = total

    @property
    def variance(self) -> Tensor:
        """Unbiased."""
        return self._squares / (self._count - 1)
