"""The network without one unit, on the images of the context."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context
from autoprune.data import as_batch
from autoprune.errors import ArgumentError, DataError
from autoprune.graph import Group
from autoprune.graph.export import evaluating
from autoprune.score import SearchImages
from autoprune.surgery import masked

logger = logging.getLogger(__name__)


def removals(context: Context, criterion: str, metric: str, labels: bool = False) -> dict[str, Tensor]:
    """A metric of `SearchImages.measure` with each unit zeroed alone, minus that of the dense network.

    Args:
        context: With batches; its model is restored bit by bit.
        criterion: Who asks, for errors.
        metric: `kl` or `loss`.
        labels: Whether labels must be there.

    Returns:
        Shape (size,), by name of every prunable group.

    Raises:
        ArgumentError: The context has no batches.
        DataError: There are no images, or no labels although they are needed.
    """
    if context.batches is None:
        raise ArgumentError(
            f"criterion '{criterion}' runs the network and needs batches, got None; pass batches=..."
        )
    if labels:
        _check_labels(context, criterion)
    model, total = context.model, sum(group.size for group in context.graph.prunable)
    images = SearchImages(model, context.batches, temperature=1.0)
    logger.info("'%s' runs the network %d times over %d images", criterion, total, images.count)
    with evaluating(model):
        dense = images.measure(model)[metric]

        def change(group: Group, unit: int) -> float:
            others = [other for other in range(group.size) if other != unit]
            with masked(model, context.graph, {group.name: others}):
                return images.measure(model)[metric] - dense

        return {group.name: _units(group, change) for group in context.graph.prunable}


def _units(group: Group, change: Callable[[Group, int], float]) -> Tensor:
    return torch.tensor([change(group, unit) for unit in range(group.size)], dtype=torch.float64)


def _check_labels(context: Context, criterion: str) -> None:
    first = next(iter(context.batches or ()), None)
    if first is not None and as_batch(first, "batch 0 of batches").labels is None:
        raise DataError(
            f"criterion '{criterion}' needs labels, but batch 0 of batches has none; "
            "give (inputs, labels) batches"
        )
