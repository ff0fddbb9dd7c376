"""One pass over calibration images."""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.calibration.calibration import Calibration
from autoprune.calibration.chains import find_chains
from autoprune.calibration.intercept import LayerCall, Norm, Watch, check_weights, consumers
from autoprune.calibration.moments import Accumulator
from autoprune.calibration.patches import patches, sample
from autoprune.calibration.statistics import (
    Gatherer,
    Loss,
    Statistic,
    Subject,
    cross_entropy,
    make_statistics,
)
from autoprune.data import Batch, as_batch
from autoprune.errors import ArgumentError, DataError, ModelError
from autoprune.graph import Layer, PruneGraph
from autoprune.graph.export import device_of, evaluating, unwrap
from autoprune.score.batches import call

logger = logging.getLogger(__name__)

LARGEST = 8192
"""Widest patch per convolution group whose moment is kept: 8192 x 8192 numbers in float64 are 512 MiB."""

__all__ = ["LARGEST", "Calibration", "calibrate"]


def calibrate(
    graph: PruneGraph,
    model: nn.Module,
    batches: Iterable[Any],
    *,
    positions: int = 16,
    seed: int = 0,
    statistics: Iterable[str | Statistic] = (),
    loss: Loss | None = None,
) -> Calibration:
    """Gather the input moments of all layers that read a prunable group, and statistics, in one pass.

    Consumers whose patches are wider than 8192 numbers, or that no convolution or linear function is seen
    to use, are listed in `skipped` and logged.

    Where a statistic needs gradients the network runs forwards and backwards; every parameter is
    differentiated, frozen ones too, and `.grad` and `requires_grad` are as before afterwards.

    Args:
        graph: From `trace(model, ...)`.
        model: The dense network, in any mode; runs in eval mode, untouched.
        batches: Inputs, or (inputs, labels), or dicts.
        positions: Output positions per image at which patches are taken; all where there are fewer.
        seed: Seed of their choice, and of statistics that draw.
        statistics: Names from `STATISTICS`, or objects; what criteria need is in their `statistics`.
        loss: From (outputs, labels) to a scalar, the mean over the images; None takes the cross-entropy of
            the class scores with class indices.

    Raises:
        ArgumentError: `positions` below 1, or an unknown statistic.
        DataError: No image, inputs that are not finite, or labels that are missing or do not fit.
        ModelError: Weights, a layer's inputs, the outputs of the network or a statistic are not finite.
    """
    if positions < 1:
        raise ArgumentError(f"positions must be at least 1, got {positions}")
    model = unwrap(model)
    chosen = make_statistics(statistics)
    gather = Gatherer(Subject(graph, model, cross_entropy if loss is None else loss, seed), chosen)
    check_weights(model, ModelError)
    layers, skipped = _measurable(graph)
    device = device_of(model)
    watch = _Measuring(model, layers, positions, seed)
    norms: dict[str, Norm] = {}
    images = 0
    with evaluating(model), gather.ready(), torch.no_grad():
        for number, raw in enumerate(batches):
            batch = as_batch(raw, f"batch {number} of batches").to(device)
            if batch.size == 0:
                continue
            gather.check(batch, number)
            if images == 0:
                norms = _norms_behind(model, layers, batch.first(2))
            images += batch.size
            watch.images = batch.size
            outputs = gather.forward(batch, watch)
            _check_finite(outputs, number)
            gather.finish(batch, outputs, number)
    if images == 0:
        raise DataError("batches must hold at least one image, got none; check the loader")
    moments = {name: total.moment(name) for name, total in watch.sums.items()}
    reason = "no convolution or linear function was seen to use it"
    skipped |= {x.weight: reason for x in layers if x.weight not in moments}
    for name, why in skipped.items():
        logger.warning("no moments for '%s' (%s): it is sliced without reconstruction", name, why)
    return Calibration(graph, moments, norms, skipped, images, positions, seed, gather.results())


class _Measuring(Watch):
    def __init__(self, model: nn.Module, layers: list[Layer], positions: int, seed: int) -> None:
        super().__init__(model, layers)
        self.images = 0
        self.sums: dict[str, Accumulator] = {}
        self._positions = positions
        self._generator = torch.Generator().manual_seed(seed)

    def on_layer(self, call: LayerCall) -> Tensor:
        output = call.run()
        with torch.no_grad():
            where = sample(call, output, self.images, self._positions, self._generator)
            self.sums.setdefault(call.layer.weight, Accumulator()).add(patches(call, where))
        return output


def _norms_behind(model: nn.Module, layers: list[Layer], few: Batch) -> dict[str, Norm]:
    chains = find_chains(model, layers, lambda: call(model, few.inputs))
    return {name: chain.norm for name, chain in chains.items() if chain.norm is not None}


def _measurable(graph: PruneGraph) -> tuple[list[Layer], dict[str, str]]:
    layers: list[Layer] = []
    skipped: dict[str, str] = {}
    for layer in consumers(graph):
        size = torch.Size(graph.fingerprint[layer.weight][1:]).numel()
        if size > LARGEST:
            skipped[layer.weight] = f"its patches have {size} elements, more than {LARGEST}"
        else:
            layers.append(layer)
    return layers, skipped


def _check_finite(outputs: Any, number: int) -> None:
    for tensor in pytree.tree_leaves(outputs):
        floating = isinstance(tensor, Tensor) and tensor.is_floating_point()
        if floating and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"the model's outputs must be finite, got NaN or infinity on batch {number}; check the model"
            )
