"""Scores of a criterion, after everything that it needs was found to be there."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.make import make_criterion
from autoprune.errors import ArgumentError, ModelError
from autoprune.graph import PruneGraph

if TYPE_CHECKING:
    from autoprune.calibration import Calibration


def statistics_of(criterion: str | Criterion) -> frozenset[str]:
    """What `calibrate(graph, model, batches, statistics=...)` has to gather for a criterion, by name.

    Raises:
        ArgumentError: An unknown name.
    """
    return make_criterion(criterion).statistics


def unit_scores(
    graph: PruneGraph,
    model: nn.Module,
    criterion: str | Criterion,
    calibration: "Calibration | None" = None,
    seed: int = 0,
    batches: Iterable[Any] | None = None,
) -> dict[str, Tensor]:
    """Score the units of every prunable group; the higher, the longer a unit stays.

    Args:
        graph: The graph.
        model: The dense network.
        criterion: A name, a composition such as "layer_l2(taylor)", or an object.
        calibration: Needed by criteria that read data, with the statistics that `statistics_of` names.
        seed: Seed of criteria that draw.
        batches: Images that can be read again and again, with labels; needed by criteria that run the
            network by themselves.

    Returns:
        Shape (size,) by group name.

    Raises:
        ArgumentError: An unknown name, or a criterion that needs something that is not there (found before
            any work).
        ModelError: Scores that are not finite.
    """
    chosen = make_criterion(criterion)
    check_inputs(chosen, calibration, batches)
    scores = chosen.scores(Context.of(graph, model, calibration, seed, batches))
    return _finite(chosen, {group.name: scores[group.name] for group in graph.prunable})


def weight_scores(
    graph: PruneGraph,
    model: nn.Module,
    criterion: str | Criterion,
    calibration: "Calibration | None" = None,
    seed: int = 0,
    batches: Iterable[Any] | None = None,
) -> dict[str, Tensor]:
    """Score single weights of every convolution and linear layer, for `autoprune.masks` to prune by.

    The arguments and errors are those of `unit_scores`; a criterion that scores whole units only is an
    ArgumentError too.

    Returns:
        Of each weight's own shape, by its name.
    """
    chosen = make_criterion(criterion)
    if not chosen.elementwise:
        raise ArgumentError(
            f"criterion must score single weights, but '{chosen.name}' scores whole units only"
        )
    check_inputs(chosen, calibration, batches)
    return _finite(chosen, chosen.elements(Context.of(graph, model, calibration, seed, batches)))


def check_inputs(
    criterion: Criterion, calibration: "Calibration | None", batches: Iterable[Any] | None
) -> None:
    """Refuse a criterion that declares a need of something that is not given.

    Raises:
        ArgumentError: It names what is missing and how to get it.
    """
    needed = sorted(criterion.statistics)
    if missing := [name for name in needed if calibration is None or name not in calibration.statistics]:
        raise ArgumentError(
            f"criterion '{criterion.name}' needs a calibration with the statistics {', '.join(missing)}, got "
            f"{'None' if calibration is None else 'one without'}; pass "
            f"calibration=autoprune.calibrate(graph, model, batches, statistics={needed})"
        )
    if criterion.runs and batches is None:
        raise ArgumentError(
            f"criterion '{criterion.name}' runs the network and needs batches, got None; "
            "pass batches=<a re-iterable loader of inputs and labels>"
        )
    reads = " and ".join(sorted(criterion.needs & {"data", "gradients"}))
    if reads and calibration is None and not criterion.runs:
        raise ArgumentError(
            f"criterion '{criterion.name}' reads {reads} and needs calibration, got None; "
            "pass calibration=autoprune.calibrate(graph, model, batches)"
        )


def _finite(criterion: Criterion, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, score in scores.items():
        if not bool(torch.isfinite(score).all()):
            raise ModelError(f"criterion '{criterion.name}' must give finite scores, but not for '{name}'")
    return dict(scores)
