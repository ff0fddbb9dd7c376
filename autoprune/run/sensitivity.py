"""A sensitivity analysis from the network to the result."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from autoprune.allocation.patterns import any_matching, as_patterns
from autoprune.budget import Budget
from autoprune.criteria import make_criterion
from autoprune.errors import ArgumentError
from autoprune.files import StrPath
from autoprune.graph import trace
from autoprune.graph.export import unwrap
from autoprune.run.checks import check_data, check_model, digest_of, digest_of_inputs, tensors_of
from autoprune.run.config import Settings
from autoprune.run.points import PointsFile
from autoprune.run.problem import Problem, Subject, pose, take_subject
from autoprune.sensitivity import Sensitivity
from autoprune.sensitivity.measure import OnPoint, checked_ratios, measure
from autoprune.train import inference

if TYPE_CHECKING:
    from autoprune.criteria import Criterion
    from autoprune.data import Splits

SHAPING = ("criterion", "search_images", "calibration_images", "fit_images", "seed")
"""The settings that a point depends on, beside the reconstruction."""


def analyse(
    model: nn.Module,
    example_inputs: Any,
    data: "Splits",
    settings: Settings,
    criterion: "str | Criterion",
    *,
    ratios: Sequence[float],
    groups: Sequence[str] | None,
    reconstruct: bool,
    path: StrPath | None,
    on_point: OnPoint | None,
    on_stage: Callable[[str], None],
) -> Sensitivity:
    """Measure every group alone; `autoprune.sensitivity` documents arguments and errors."""
    wanted, checked = as_patterns(("*",) if groups is None else groups, "groups"), checked_ratios(ratios)
    if not wanted:
        raise ArgumentError("groups must name at least one group or pattern, got none; None takes all")
    make_criterion(criterion)
    check_model(model)
    subject = take_subject(model, example_inputs, check_data(data), settings)
    shaping = settings.model_dump(include=set(SHAPING)) | {"reconstruct": reconstruct}
    shaping = {name: shaping[name] for name in (*SHAPING, "reconstruct")}
    if groups is not None:
        any_matching(trace(subject.model, subject.example_inputs), wanted, "groups")  # before the calibration
    file = PointsFile(None if path is None else Path(path), shaping | _digests(subject))
    budget = Budget.parse(settings.budget)
    problem = pose(subject, budget, settings, criterion, on_stage, reconstruct=reconstruct)
    chosen = any_matching(problem.graph, wanted, "groups")
    on_stage("measure")
    points = measure(
        problem.task, problem.evaluator.evaluate, chosen, checked, file.points, file.record, on_point
    )
    return Sensitivity(points, _dense(problem), shaping)


def _digests(subject: Subject) -> dict[str, str]:
    """What tells whether a file of points belongs to the same network, inputs and images."""
    return {
        "network (SHA-256)": digest_of(tensors_of(unwrap(subject.given))),
        "images of data.train (SHA-256)": subject.images.calibration.digest,
        "images of data.search_val (SHA-256)": subject.images.search.digest,
        "example_inputs (SHA-256)": digest_of_inputs(subject.example_inputs),
    }


def _dense(problem: Problem) -> dict[str, float]:
    with inference(problem.subject.model):
        return problem.score(problem.subject.model).metrics
