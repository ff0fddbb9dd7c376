"""One policy over several networks and budgets."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from autoprune.budget import Budget
from autoprune.budget.limit import Limit
from autoprune.data import Splits
from autoprune.errors import ArgumentError, BudgetError
from autoprune.run.checks import check_data, parsed_budget
from autoprune.run.config import Settings, make_settings
from autoprune.run.parts import Parts, checked_parts, name_of
from autoprune.run.problem import Problem, pose, take_subject
from autoprune.task import Task

if TYPE_CHECKING:
    from autoprune.agents import Episode, Policy
    from autoprune.agents.ddpg.several import Course
    from autoprune.criteria import Criterion
    from autoprune.envs import Reward

logger = logging.getLogger(__name__)

BETWEEN = 9
"""Budgets from the tightest to the loosest at which free episodes are played."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """A network to learn a policy on, with the budgets that it is pruned to.

    Attributes:
        model: Trained network; untouched.
        example_inputs: As for `autoprune.search`.
        data: As for `autoprune.search`.
        budgets: Upper bounds on `macs` and `params`, all of the same costs; the policy learns what lies
            between them too.
    """

    model: nn.Module
    example_inputs: Any
    data: Splits
    budgets: Sequence[str] = ("macs=30%", "macs=50%", "macs=70%")


def learn_policy(
    lessons: Sequence[Lesson],
    *,
    episodes: int = 200,
    agent_settings: Mapping[str, Any] | None = None,
    criterion: "str | Criterion" = "obs",
    reward: "str | Reward" = "kl",
    seed: int = 0,
    lower: float = 0.1,
    search_images: int = 512,
    calibration_images: int = 2000,
    fit_images: int = 128,
    on_episode: "Callable[[Episode], None] | None" = None,
) -> "Policy":
    """Learn one policy on several networks and budgets at once, so that it generalizes by construction.

        lessons = [autoprune.Lesson(net, inputs, data) for net in (resnet20, resnet56)]
        policy = autoprune.learn_policy(lessons, episodes=300)
        policy.save("policies/cifar-resnets")

    Networks and budgets take turns. Between two evaluations the policy plays free episodes in a model of what
    was evaluated, at budgets between the given ones too.

    Args:
        lessons: The networks; one is enough to learn several budgets.
        episodes: Candidates that are evaluated in total.
        agent_settings: Fields of `autoprune.agents.DDPGSettings`.
        criterion: As for `search`.
        reward: As for `search`.
        seed: Of images, criterion and agent; the same seed gives the same policy.
        lower: As for `search`.
        search_images: As for `search`.
        calibration_images: As for `search`.
        fit_images: As for `search`.
        on_episode: Called with every finished episode.

    Returns:
        The policy.

    Raises:
        ArgumentError: No lessons, budgets of different costs, or an argument out of range.
        BudgetError: As `search`.
        DataError: As `search`.
        ModelError: As `search`.
        TraceError: As `search`.
    """
    from autoprune.agents.ddpg.several import SeveralAgent

    if not lessons:
        raise ArgumentError("lessons must hold at least one network, got none")
    settings = [
        make_settings(
            budget=str(_checked_budgets(lesson)[0]),
            agent="ddpg",
            episodes=episodes,
            criterion=name_of(criterion),
            reward=name_of(reward),
            seed=seed,
            device=None,
            round_to=1,
            lower=lower,
            search_images=search_images,
            calibration_images=calibration_images,
            fit_images=fit_images,
            baselines=(),
        )
        for lesson in lessons
    ]
    parts = checked_parts(Parts(criterion, reward))
    courses = [_course(lesson, s, parts) for lesson, s in zip(lessons, settings, strict=True)]
    agent = SeveralAgent(courses, seed=seed, **(agent_settings or {}))
    for _ in range(episodes):
        episode = agent.run_episode()
        logger.info("episode %d: reward %.5g", episode.number, episode.reward)
        if on_episode is not None:
            on_episode(episode)
    agent.settle()
    return agent.policy.described(criterion=name_of(criterion), reward=name_of(reward))


def _checked_budgets(lesson: Lesson) -> tuple[Budget, ...]:
    if isinstance(lesson.budgets, str) or not lesson.budgets:
        raise ArgumentError(f"budgets of a lesson must be a sequence of budgets, got {lesson.budgets!r}")
    parsed = tuple(parsed_budget(budget) for budget in lesson.budgets)
    if len({budget.names for budget in parsed}) > 1:
        raise ArgumentError(
            f"budgets of a lesson must limit the same costs, got {', '.join(map(str, parsed))}"
        )
    return parsed


def _course(lesson: Lesson, settings: Settings, parts: Parts) -> "Course":
    from autoprune.agents.ddpg.several import Course
    from autoprune.envs import PruningEnv

    budgets = _checked_budgets(lesson)
    subject = take_subject(lesson.model, lesson.example_inputs, check_data(lesson.data), settings)
    problem = pose(subject, budgets[0], settings, parts.criterion, parts.stage, parts.step)
    evaluate = problem.evaluator.evaluate
    tasks = [replace(problem.task, budget=budget.bind(problem.graph)) for budget in budgets]
    real = [PruningEnv(task, evaluate, reward=parts.reward) for task in tasks]
    free = [PruningEnv(task, evaluate, reward=parts.reward) for task in _between(problem, tasks)]
    return Course(tuple(real), tuple(free))


def _between(problem: Problem, tasks: Sequence[Task]) -> list[Task]:
    """The same network at budgets from the tightest limits to the loosest; what cannot be met is left out."""
    shares = np.array([[t.budget.limits[n] / t.budget.dense[n] for n in t.budget.names] for t in tasks])
    low, high, names = shares.min(0), shares.max(0), tasks[0].budget.names
    if (low == high).all():
        return []
    found, known = [], [task.budget.limits for task in tasks]
    for at in np.linspace(0, 1, BETWEEN):
        percents = 100 * (low + at * (high - low))
        limits = [Limit(n, Decimal(f"{p:.6g}"), True) for n, p in zip(names, percents, strict=True)]
        try:
            bound = Budget(tuple(limits)).bind(problem.graph)
            if bound.limits not in known:
                found.append(replace(problem.task, budget=bound))
        except BudgetError:
            logger.info("the budget %s cannot be met and is left out", Budget(tuple(limits)))
    return found
