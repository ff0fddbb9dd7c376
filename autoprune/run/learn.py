"""One policy over several networks and budgets."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from autoprune.budget import Budget
from autoprune.budget.limit import Limit
from autoprune.data import Splits
from autoprune.errors import ArgumentError, BudgetError
from autoprune.files import StrPath
from autoprune.run.asked import recordable
from autoprune.run.checks import (
    check_data,
    check_model,
    digest_of,
    digest_of_inputs,
    parsed_budget,
    tensors_of,
)
from autoprune.run.config import Settings, make_settings
from autoprune.run.lessons import Lessons, kept_in
from autoprune.run.parts import Parts, checked_parts, name_of
from autoprune.run.problem import Problem, Subject, pose, take_subject
from autoprune.run.signals import StopRequest, interruptible
from autoprune.task import Task

if TYPE_CHECKING:
    from autoprune.agents import Episode, Policy
    from autoprune.agents.ddpg.several import Course, SeveralAgent
    from autoprune.criteria import Criterion
    from autoprune.envs import Reward
    from autoprune.envs.episodes import Evaluate

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
    run_dir: StrPath | None = None,
    on_episode: "Callable[[Episode], None] | None" = None,
) -> "Policy":
    """Learn one policy on several networks and budgets at once, so that it generalizes by construction.

        lessons = [autoprune.Lesson(net, inputs, data) for net in (resnet20, resnet56)]
        policy = autoprune.learn_policy(lessons, episodes=300, run_dir="runs/cifar-resnets")
        policy.save("policies/cifar-resnets")

    Networks and budgets take turns. Between two evaluations the policy plays free episodes in a model of what
    was evaluated, at budgets between the given ones too. Ctrl-C or SIGTERM end the learning behind
    the running episode with the policy that there is then (a second one aborts). With `run_dir` nothing but
    the running episode is lost however the process ends: the same call goes on there, with as many episodes
    as are missing, or more.

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
        run_dir: Folder for every evaluated candidate and, at the end, the policy (`run_dir/policy`, or
            `search(init_policy=run_dir)`): new, or of an earlier call with the same arguments but `episodes`.
            None writes nothing.
        on_episode: Called with every finished episode, also with those of an earlier call.

    Returns:
        The policy.

    Raises:
        ArgumentError: No lessons, budgets of different costs, an argument out of range, or a `run_dir` with
            something else in it, or with other lessons or settings.
        BudgetError: As `search`.
        DataError: As `search`.
        ModelError: As `search`.
        TraceError: As `search`.
        RunError: As `search`.
        KeyboardInterrupt: Stopped before every network had an episode.
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
    for lesson in lessons:
        check_model(lesson.model)
    parts = checked_parts(Parts(criterion, reward))
    asked = recordable({
        "agent_settings": agent_settings or {}, "criterion": criterion, "reward": reward, "seed": seed,
        "lower": lower, "search_images": search_images, "calibration_images": calibration_images,
        "fit_images": fit_images, "budgets": [list(map(str, _checked_budgets(x))) for x in lessons],
        "models": [digest_of(tensors_of(lesson.model)) for lesson in lessons],
    })  # fmt: skip
    with interruptible(), kept_in(run_dir, asked) as kept:
        subjects = [_subject(lesson, s) for lesson, s in zip(lessons, settings, strict=True)]
        kept.take_up([_digests(subject) for subject in subjects])
        courses = [
            _course(*one, parts, partial(kept.remembering, number))
            for number, one in enumerate(zip(lessons, subjects, settings, strict=True))
        ]
        agent = SeveralAgent(courses, seed=seed, **(agent_settings or {}))
        with StopRequest() as stop:
            _episodes(agent, len(lessons), episodes, kept, stop, on_episode)
            if stop.requested and agent.episodes < len(lessons):
                raise KeyboardInterrupt("stopped before every network had an episode")
            agent.settle()
            policy = agent.policy.described(criterion=name_of(criterion), reward=name_of(reward))
            kept.finish(policy)
    return policy


def _episodes(
    agent: "SeveralAgent",
    networks: int,
    episodes: int,
    kept: Lessons,
    stop: StopRequest,
    on_episode: "Callable[[Episode], None] | None",
) -> None:
    """As many as are wanted, or as were finished when a stop was requested."""
    while agent.episodes < episodes and not stop.requested:
        lesson = agent.episodes % networks
        episode = agent.run_episode()
        kept.add(lesson, episode)
        logger.info("episode %d: reward %.5g", episode.number, episode.reward)
        if on_episode is not None:
            on_episode(episode)


def _checked_budgets(lesson: Lesson) -> tuple[Budget, ...]:
    if isinstance(lesson.budgets, str) or not lesson.budgets:
        raise ArgumentError(f"budgets of a lesson must be a sequence of budgets, got {lesson.budgets!r}")
    parsed = tuple(parsed_budget(budget) for budget in lesson.budgets)
    if len({budget.names for budget in parsed}) > 1:
        raise ArgumentError(
            f"budgets of a lesson must limit the same costs, got {', '.join(map(str, parsed))}"
        )
    return parsed


def _subject(lesson: Lesson, settings: Settings) -> Subject:
    return take_subject(lesson.model, lesson.example_inputs, check_data(lesson.data), settings)


def _digests(subject: Subject) -> dict[str, str]:
    """Of all that is read beside the weights."""
    return {
        "example_inputs": digest_of_inputs(subject.example_inputs),
        "images of data.train": subject.images.calibration.digest,
        "images of data.search_val": subject.images.search.digest,
    }


def _course(
    lesson: Lesson,
    subject: Subject,
    settings: Settings,
    parts: Parts,
    remembering: "Callable[[Evaluate], Evaluate]",
) -> "Course":
    from autoprune.agents.ddpg.several import Course
    from autoprune.envs import PruningEnv

    budgets = _checked_budgets(lesson)
    problem = pose(subject, budgets[0], settings, parts.criterion, parts.stage, parts.step)
    evaluate = remembering(problem.evaluator.evaluate)
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
