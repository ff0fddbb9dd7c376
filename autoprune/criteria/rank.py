"""From scores to an order."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.registry import make_criterion
from autoprune.errors import ArgumentError, ModelError
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
) -> dict[str, Indices]:
    """Order the units of every prunable group, most important first; of equals the lower index comes first.

    Args:
        graph: The graph.
        model: The dense network.
        criterion: A name or an object.
        calibration: Needed by criteria that read data.
        seed: Seed of criteria that draw.

    Raises:
        ArgumentError: An unknown name, or a criterion that needs data and gets none.
        ModelError: Scores that are not finite.
    """
    chosen = make_criterion(criterion)
    reads = " and ".join(sorted(chosen.needs & {"data", "gradients"}))
    if reads and calibration is None:
        raise ArgumentError(
            f"criterion '{chosen.name}' reads {reads} and needs calibration, got None; "
            "pass calibration=autoprune.calibrate(graph, model, batches)"
        )
    scores = chosen.scores(Context.of(graph, model, calibration, seed))
    result: dict[str, Indices] = {}
    for group in graph.prunable:
        score = scores[group.name]
        if not bool(torch.isfinite(score).all()):
            raise ModelError(f"criterion '{chosen.name}' must give finite scores, but not for '{group.name}'")
        result[group.name] = torch.argsort(score, descending=True, stable=True).cpu().numpy()
    return result
