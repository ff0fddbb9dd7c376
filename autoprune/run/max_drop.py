"""Accuracy-guaranteed search: the smallest network that loses at most so many points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoprune.errors import ArgumentError
from autoprune.run.finish import evaluate
from autoprune.run.parts import Parts
from autoprune.run.problem import Problem

if TYPE_CHECKING:
    from autoprune.run.result import Measured
    from autoprune.score import Evaluation

STEEPNESS = 10.0
"""A point of accuracy beyond the allowance weighs as much as this many hundredths of the dense cost."""


@dataclass(frozen=True)
class Allowance:
    """The reward of the accuracy-guaranteed protocol (He et al. 2018, arXiv:1802.03494, section 3.4).

    AMC's -error * log(FLOPs) has no number for what may be lost. Here every candidate within the allowance is
    worth more than any beyond it; within, the cheaper the better, beyond, the fewer points lost the better.

    Attributes:
        accuracy: Of the dense network on the search images, a share.
        points: How many percentage points a candidate may lose.
        dense: Costs of the dense network by name.
        names: The costs that are to be small; their mean share of the dense costs counts.
    """

    accuracy: float
    points: float
    dense: Mapping[str, float]
    names: Sequence[str]

    def __call__(self, evaluation: "Evaluation", costs: Mapping[str, float]) -> float:
        """The reward: -share of the costs (0 to 1) within the allowance, below -1 beyond it."""
        beyond = self.beyond(evaluation)
        if beyond > 0:
            return -1 - STEEPNESS * beyond / 100
        return -sum(costs[name] / self.dense[name] for name in self.names) / len(self.names)

    def beyond(self, evaluation: "Evaluation") -> float:
        """Percentage points that are lost beyond the allowance; 0 or less within it."""
        return 100 * (self.accuracy - evaluation.metrics["accuracy"]) - self.points - 1e-9


def check_max_drop(points: float | None, reward: object) -> None:
    """Refuse an allowance that makes no sense, or a reward beside it.

    Raises:
        ArgumentError: As said.
    """
    if points is None:
        return
    if isinstance(points, bool) or not isinstance(points, int | float) or not 0 <= points < 100:
        raise ArgumentError(f"max_drop must lie in [0, 100), percentage points of accuracy, got {points!r}")
    if reward not in ("kl", "accuracy_guaranteed"):
        raise ArgumentError(f"max_drop is a reward of its own; leave reward out, got {reward!r}")


def with_allowance(parts: Parts, problem: Problem, points: float | None) -> Parts:
    """The parts with the reward that `max_drop` asks for; the same parts without it.

    Raises:
        ArgumentError: The search images have no labels.
    """
    if points is None:
        return parts
    dense = evaluate(problem, problem.subject.model)
    if "accuracy" not in dense.metrics:
        raise ArgumentError("max_drop needs labels with the images of data.search_val, got none")
    budget = problem.task.budget
    return replace(parts, reward=Allowance(dense.metrics["accuracy"], points, budget.dense, budget.names))


def remark_on(reward: object, found: "Measured") -> tuple[str, ...]:
    """What to say of the accuracy that was guaranteed."""
    if not isinstance(reward, Allowance):
        return ()
    lost = 100 * (reward.accuracy - found.evaluation.metrics["accuracy"])
    text = f"loses {lost:.2f} points of accuracy on the search images, at most {reward.points:g} are allowed"
    if reward.beyond(found.evaluation) <= 0:
        return (text,)
    return (f"{text}: NO CANDIDATE KEPT THAT, this one loses least; search longer or allow more",)
