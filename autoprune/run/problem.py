"""From a network, data and a budget to everything that an agent and the final result need."""

import copy
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.allocation import restrict
from autoprune.budget import BoundBudget, Budget, Cost
from autoprune.calibration import Calibration, calibrate, sensitivity_curves
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import rank, statistics_of
from autoprune.data import FirstImages, Splits
from autoprune.errors import ArgumentError, BudgetError, DataError
from autoprune.graph import PruneGraph, trace
from autoprune.graph.export import device_of, unwrap
from autoprune.latency import LatencyCost, channel_multiples
from autoprune.run.checks import check_model, check_runs
from autoprune.run.config import Settings
from autoprune.run.scoring import scores_of, set_reference
from autoprune.score import Score
from autoprune.score.precision import check_precision
from autoprune.surgery import proven
from autoprune.task import Task

if TYPE_CHECKING:
    from autoprune.criteria import Criterion

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Images:
    """The images that a search reads.

    Attributes:
        calibration: Of `data.train`, read anew in every pass; the final network is re-fitted on them too.
        fit: The first of them, on which every candidate is re-fitted.
        search: Of `data.search_val`, for scores.
    """

    calibration: FirstImages
    fit: FirstImages
    search: FirstImages


@dataclass(frozen=True, eq=False)
class Subject:
    """The network and its inputs, checked, on the device of the search; in evaluation mode or not, as given.

    Attributes:
        given: The network as the user gave it, without wrappers.
        model: The network that is worked with: the same object, or a copy on another device.
        example_inputs: On the device of `model`.
        images: What the search reads.
    """

    given: nn.Module
    model: nn.Module
    example_inputs: Any
    images: Images


@dataclass(frozen=True, eq=False)
class Problem:
    """A pruning problem, ready for an agent.

    Attributes:
        subject: Network, inputs, images.
        graph: Its groups, and the form that pruned networks take.
        calibration: What one pass over the calibration images gave.
        task: Budget, curves and allowed widths.
        score: What a network is worth, on all images and as it is.
        evaluator: Makes and scores candidates, perhaps in lower precision or on a part of the images.
        seed: Of images, criterion and agent.
    """

    subject: Subject
    graph: PruneGraph
    calibration: Calibration
    task: Task
    score: Score
    evaluator: CandidateEvaluator
    seed: int


def take_subject(model: nn.Module, example_inputs: Any, data: Splits, settings: Settings) -> Subject:
    """Check the network and the inputs, and bring them to the device.

    Raises:
        ArgumentError: Not a network, inputs that it does not take, or a precision that the device lacks.
        ModelError: Weights or outputs that are not finite.
        DataError: An empty or malformed loader.
    """
    check_model(model)
    given = unwrap(model)
    device = _device(settings.device, given)
    check_precision(settings.precision, device)
    used = given if device == device_of(given) else copy.deepcopy(given).to(device)
    images = _images(data, settings, device)
    if example_inputs is None:
        example_inputs = next(iter(images.search)).first(1).inputs
    inputs = pytree.tree_map(lambda t: t.to(device) if isinstance(t, Tensor) else t, example_inputs)
    check_runs(used, inputs)
    for name, part in (("data.train", images.calibration), ("data.search_val", images.search)):
        check_runs(used, next(iter(part)).first(2).inputs, f"the inputs of {name}", DataError)
    return Subject(given, used, inputs, images)


def _device(wanted: str | None, model: nn.Module) -> torch.device:
    own = device_of(model)
    if wanted is None:
        return own
    try:
        device = torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"device must be one that torch has here, got '{wanted}': {error}") from error
    return device


def _images(data: Splits, settings: Settings, device: torch.device) -> Images:
    def first(loader: Any, count: int, name: str) -> FirstImages:
        return FirstImages(loader, count, seed=settings.seed, name=name, device=device)

    return Images(
        calibration=first(data.train, settings.calibration_images, "data.train"),
        fit=first(data.train, settings.fit_images, "data.train"),
        search=first(data.search_val, settings.search_images, "data.search_val"),
    )


def pose(
    subject: Subject,
    budget: Budget,
    settings: Settings,
    criterion: "str | Criterion",
    stage: Callable[[str], None],
    step: Callable[[int, int], None] = lambda done, total: None,
    *,
    reconstruct: bool = True,
    costs_of: Callable[[PruneGraph], Mapping[str, Cost]] = lambda graph: {},
) -> Problem:
    """Trace, decide on the form of pruned networks, calibrate and rank.

    Args:
        subject: Network, inputs, images.
        budget: Upper bounds.
        settings: Seed, allowed widths and the like.
        criterion: What orders the units.
        stage: Told the name of every stage that begins.
        step: Told how many images of how many the calibration has read.
        reconstruct: Whether the evaluator fits the weights of a candidate.
        costs_of: Gives the costs beside MACs and parameters.

    Raises:
        ArgumentError: A pattern in `include` or `exclude` that matches no group, nothing left to prune, or a
            precision that the network cannot run in.
        TraceError: `torch.export` refuses the model.
        ModelError: Nothing to prune, or outputs that are not finite.
        BudgetError: The budget cannot be met.
        DataError: Labels out of range or missing.
    """
    model = subject.model
    stage("trace")
    narrow = partial(restrict, include=settings.include, exclude=settings.exclude)
    traced = trace(model, subject.example_inputs, heads=settings.heads, inexact=settings.inexact)
    graph = proven(traced, form=settings.form, narrow=narrow, seed=settings.seed)
    bound = budget.bind(graph, costs_of(graph))
    _check_feasible(graph, bound, settings)
    score, searched = scores_of(graph, model, subject.images.search, settings)
    stage("calibrate")
    images = subject.images.calibration
    calibration = calibrate(
        graph, model, images.counted(step), seed=settings.seed, statistics=sorted(statistics_of(criterion))
    )
    stage("rank")
    order = rank(graph, model, criterion, calibration, seed=settings.seed, batches=images)
    curves = sensitivity_curves(graph, model, calibration, order)
    task = _task(graph, bound, _numbers(curves), settings)
    evaluator = CandidateEvaluator(
        graph,
        model,
        calibration,
        order,
        searched,
        subject.images.fit,
        reconstruct=reconstruct,
        seed=settings.seed,
    )
    set_reference(searched, evaluator, task)
    return Problem(subject, graph, calibration, task, score, evaluator, settings.seed)


def _check_feasible(graph: PruneGraph, bound: BoundBudget, settings: Settings) -> None:
    """Refuse a budget that cannot be met before the calibration is paid for."""
    flat = {group.name: np.zeros(group.size + 1) for group in graph.prunable}
    _task(graph, bound, flat, settings)


def _task(
    graph: PruneGraph, bound: BoundBudget, curves: dict[str, NDArray[np.float64]], settings: Settings
) -> Task:
    multiples = _multiples(graph, bound, settings.round_to)
    while True:
        try:
            return Task(
                graph,
                bound,
                curves,
                lower=settings.lower,
                round_to=multiples,
                floor_units=settings.floor_units,
            )
        except BudgetError:
            if isinstance(multiples, int):
                raise
            halved = {name: max(1, multiple // 2) for name, multiple in multiples.items()}
            multiples = 1 if multiples == halved else halved


def _multiples(graph: PruneGraph, bound: BoundBudget, round_to: int | str) -> int | dict[str, int]:
    """What widths are multiples of; "auto" asks the latency table, and is for the budget to correct.

    Raises:
        ArgumentError: "auto" without a latency to look at.
    """
    if isinstance(round_to, int):
        return round_to
    latency = bound.known.get("latency")
    if not isinstance(latency, LatencyCost):
        raise ArgumentError(
            "round_to='auto' reads the channel multiples off a latency table, but there is none; "
            "give latency_table=, a latency budget, or a number"
        )
    found = channel_multiples(latency, bound.sizes)
    return {group.name: multiple for group, multiple in zip(graph.prunable, found, strict=True)}


def remark_on_multiples(round_to: int | Mapping[str, int]) -> tuple[str, ...]:
    """What the device made of `round_to="auto"`, in words; nothing where any width will do."""
    if isinstance(round_to, int) or max(round_to.values(), default=1) == 1:
        return ()
    counts = Counter(round_to.values())
    parts = [f"{m} for {n} group{'s' * (n > 1)}" for m, n in sorted(counts.items())]
    return (f"widths are multiples of what the device likes (round_to=auto): {', '.join(parts)}",)


def _numbers(curves: Any) -> dict[str, NDArray[np.float64]]:
    return {name: np.asarray(curve, np.float64) for name, curve in curves.items()}
