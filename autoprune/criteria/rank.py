"""From scores to an order."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autoprune.criteria.criterion import Criterion
from autoprune.criteria.scoring import unit_scores
from autoprune.graph import PruneGraph
from autoprune.graph.types import Indices

if TYPE_CHECKING:
    from autoprune.calibration import Calibration


def rank(
    graph: PruneGraph,
    model: nn.Module,
    criterion: str | Criterion,
    calibration: "Calibration | None" = None,
    seed: int = 0,
    batches: Iterable[Any] | None = None,
) -> dict[str, Indices]:
    """Order the units of every prunable group, most important first; of equals the lower index comes first.

    The arguments and errors are those of `unit_scores`.
    """
    scores = unit_scores(graph, model, criterion, calibration, seed, batches)
    return {
        name: torch.argsort(score, descending=True, stable=True).cpu().numpy()
        for name, score in scores.items()
    }
