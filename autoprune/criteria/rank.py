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

    Args:
        graph: The graph.
        model: The dense network.
        criterion: A name, a composition such as "layer_l2(taylor)", or an object.
        calibration: Needed by criteria that read data, with the statistics that `statistics_of` names.
        seed: Seed of criteria that draw.
        batches: Images that can be read again and again, with labels; needed by criteria that run the
            network by themselves.

    Raises:
        ArgumentError: An unknown name, or a criterion that needs something that is not there (found before
            any work).
        ModelError: Scores that are not finite.
    """
    scores = unit_scores(graph, model, criterion, calibration, seed, batches)
    return {
        name: torch.argsort(score, descending=True, stable=True).cpu().numpy()
        for name, score in scores.items()
    }
