"""From the best episode to the network that is returned, each claim about it checked on itself."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from autoprune.calibration import refit
from autoprune.errors import ModelError
from autoprune.graph import counted_macs
from autoprune.plan import Plan, make_plan
from autoprune.run.problem import Problem
from autoprune.score import Evaluation
from autoprune.surgery.apply import pruned
from autoprune.train import inference
from autoprune.verify import verify

if TYPE_CHECKING:
    from autoprune.agents import Episode

logger = logging.getLogger(__name__)

DRIFT = 1e-3
"""Difference in score, relative and absolute, that other hardware, libraries or memory orders may cause."""

DRIFTS = {"float32": DRIFT, "bfloat16": 1e-2, "float16": 1e-2}
"""The same where candidates are scored in that precision."""


@dataclass(frozen=True, eq=False)
class Found:
    """The network to return, its plan, and what it is worth."""

    model: nn.Module
    plan: Plan
    evaluation: Evaluation


def finish(
    problem: Problem,
    best: "Episode",
    info: Mapping[str, Any],
    *,
    exact: bool,
    drift: float = DRIFT,
    stage: Callable[[str], None],
) -> Found:
    """Rebuild the best candidate from the original weights, re-fit it, and verify it.

    Args:
        problem: The problem.
        best: The episode whose candidate is wanted.
        info: What the plan says of its origin.
        exact: Whether the score must be reproduced to the last bit (same machine, same libraries).
        drift: Difference in score, relative and absolute, that is allowed otherwise.
        stage: Told the name of every stage that begins.

    Raises:
        ModelError: The candidate lost its recorded score, fails its verification, or exceeds the budget.
    """
    stage("refit")
    keep = {name: units.tolist() for name, units in problem.evaluator.keep(best.widths).items()}
    plan = make_plan(problem.graph, problem.subject.model, keep, info)
    again = problem.evaluator.evaluate(plan.widths, remembered=False)
    _check_recorded(again, best.evaluation, 0.0 if exact else drift)
    whole = problem.evaluator.evaluate(plan.widths, score=problem.score)
    candidate = _rebuild(problem, plan)
    evaluation = evaluate(problem, candidate)
    _check_same(evaluation.score, whole.score, DRIFT)
    found = _refitted(problem, plan, Found(candidate, plan, evaluation))
    stage("verify")
    verify(
        problem.subject.model,
        plan,
        problem.subject.example_inputs,
        quick=True,
        rewriter=problem.graph.rewriter,
    ).require()
    _check_budget(problem, found)
    return found


def evaluate(problem: Problem, model: nn.Module) -> Evaluation:
    """Score a network; its modes are restored."""
    with inference(model):
        return problem.score(model)


def _rebuild(problem: Problem, plan: Plan) -> nn.Module:
    """The candidate as the search saw it, as a network of its own."""
    candidate = pruned(problem.subject.model, plan, rewriter=problem.graph.rewriter)
    candidate.load_state_dict(problem.evaluator.build(plan.widths).state_dict())
    return candidate


def _check_recorded(again: Evaluation, recorded: Evaluation, drift: float) -> None:
    if drift and again.metrics.get("images") != recorded.metrics.get("images"):
        logger.info("on this machine the best candidate is scored on another number of images")
        return
    _check_same(again.score, recorded.score, drift)


def _check_same(score: float, recorded: float, drift: float) -> None:
    if not math.isclose(score, recorded, rel_tol=drift, abs_tol=drift):
        raise ModelError(
            f"the best candidate, rebuilt from the original weights, must score {recorded!r} again, "
            f"got {score!r}; the model or the data changed during the search, or its forward pass is random"
        )


def _refitted(problem: Problem, plan: Plan, candidate: Found) -> Found:
    """The candidate with its weights re-fitted layer by layer on its own inputs, if that is better."""
    model = _rebuild(problem, plan)
    keep = {name: group.keep for name, group in plan.groups.items()}
    subject = problem.subject
    refit(
        subject.model,
        model,
        problem.graph,
        keep,
        subject.images.calibration,
        seed=problem.seed,
    )
    evaluation = evaluate(problem, model)
    logger.info(
        "re-fitting changed the score from %.5g to %.5g", candidate.evaluation.score, evaluation.score
    )
    return Found(model, plan, evaluation) if evaluation.score > candidate.evaluation.score else candidate


def _check_budget(problem: Problem, found: Found) -> None:
    """Count on the returned network itself."""
    counted: dict[str, float] = {
        "macs": counted_macs(found.model, problem.subject.example_inputs),
        "params": sum(p.numel() for p in found.model.parameters()),
    }
    vector = problem.task.vector(found.plan.widths)
    claimed = {name: np.asarray(value).item() for name, value in problem.task.budget.costs(vector).items()}
    for name, value in claimed.items():
        if counted.get(name, value) != value:
            raise ModelError(
                f"the returned model must have {value:,} {name} as planned, counted {counted[name]:,}"
            )
    for name, limit in problem.task.budget.limits.items():
        if claimed[name] > limit:
            raise ModelError(f"the returned model must keep {name} <= {limit:,}, counted {claimed[name]:,}")
