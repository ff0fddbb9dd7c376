import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import autoprune.envs
from autoprune.envs import CurveCredit, PruningEnv
from autoprune.errors import ArgumentError, ModelError
from autoprune.task import Task
from tests.budget import graphs
from tests.envs.problems import Evaluation, Quadratic, make_task, random_task


def roll(env: PruningEnv, actions: np.ndarray) -> list[tuple[Any, ...]]:
    """All transitions of one episode, the first observation in front."""
    steps: list[tuple[Any, ...]] = [env.reset(seed=0)]
    for action in actions:
        steps.append(env.step(np.array([action], np.float32)))
    return steps


def make_env(task: Task, **arguments: Any) -> PruningEnv:
    return PruningEnv(task, Quadratic(task), **arguments)


@pytest.fixture(params=["default", "amc"])
def observation(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("budget", ["macs=50%", "macs=50%,params=60%", "params=100%"])
@pytest.mark.parametrize("make", graphs.ALL)
def test_gymnasium_and_sb3_accept_it_without_warnings(make: Any, budget: str, observation: str) -> None:
    task = make_task(make(), budget)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make_env(task, observation=observation))
        check_env(make_env(task, observation=observation, credit=CurveCredit(task)))
        check_env_sb3(make_env(task, observation=observation))


def test_a_single_group_is_an_episode_of_one_step(observation: str) -> None:
    b = graphs.Builder()
    b.conv(b.group("a", 8), graphs.Extent(4))
    task = make_task(b.build())
    check_env(make_env(task, observation=observation))
    check_env_sb3(make_env(task, observation=observation))
    assert roll(make_env(task), np.ones(1))[-1][2]


def test_gymnasium_makes_it_by_its_id() -> None:
    task = make_task(graphs.residual())
    env = gymnasium.make("autoprune/Pruning-v0", task=task, evaluate=Quadratic(task), observation="amc")
    assert isinstance(env.unwrapped, PruningEnv)
    assert env.observation_space.shape == (11,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_registering_again_changes_nothing() -> None:
    before = gymnasium.spec("autoprune/Pruning-v0")
    autoprune.envs.register_envs()
    assert gymnasium.spec("autoprune/Pruning-v0") is before


def test_importing_it_loads_no_reinforcement_learning_library() -> None:
    code = "import sys, autoprune.envs; assert 'stable_baselines3' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_an_episode_visits_the_groups_in_network_order_and_evaluates_once() -> None:
    task = make_task(graphs.residual())
    env = make_env(task)
    steps = roll(env, np.zeros(len(task.names)))
    infos = [step[4] for step in steps[1:]]
    assert steps[0][1] == {}
    assert [info["group"] for info in infos] == list(task.names)
    assert [step[2] for step in steps[1:]] == [False] * (len(task.names) - 1) + [True]
    assert not any(step[3] for step in steps[1:])
    assert all(set(info) == {"group", "width", "executed_action"} for info in infos[:-1])
    widths = {info["group"]: info["width"] for info in infos}
    assert infos[-1]["widths"] == widths
    assert env.unwrapped._episodes.evaluate.calls == [widths]
    assert infos[-1]["costs"] == {"macs": task.graph.macs(widths), "params": task.graph.params(widths)}
    assert infos[-1]["reward"] == steps[-1][1] == infos[-1]["evaluation"].score
    assert [step[1] for step in steps[1:-1]] == [0.0] * (len(task.names) - 1)


def test_actions_span_the_allowed_ratios() -> None:
    task = make_task(graphs.padded_resnet(1, (16, 20)), "macs=100%", lower=0.25, upper=0.75)
    widths = {
        action: [step[4]["width"] for step in roll(make_env(task), np.full(2, action))[1:]]
        for action in (-1.0, 0.0, 0.2, 1.0)
    }
    assert widths == {-1.0: [4, 5], 0.0: [8, 10], 0.2: [8, 11], 1.0: [12, 15]}


def test_round_to_rounds_down() -> None:
    task = make_task(graphs.padded_resnet(1, (16, 20, 32)), "macs=90%", round_to=8)
    widths = [step[4]["width"] for step in roll(make_env(task), np.array([0.9, 0.9, 0.9]))[1:]]
    assert widths == [8, 16, 24]


def test_actions_out_of_range_are_clipped() -> None:
    task = make_task(graphs.residual())
    for wild, tame in ((-7.0, -1.0), (3.0, 1.0)):
        ours, theirs = (roll(make_env(task), np.full(len(task.names), a)) for a in (wild, tame))
        assert [s[4]["width"] for s in ours[1:]] == [s[4]["width"] for s in theirs[1:]]
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.array([np.nan]), "action must be finite"),
        (np.array([np.inf]), "action must be finite"),
        (np.zeros(2), r"action must have shape \(1, 1\), got \(1, 2\)"),
        (np.float32(0), "action must have shape"),
    ],
)
def test_bad_actions_change_nothing(action: np.ndarray, message: str) -> None:
    task = make_task(graphs.residual())
    env, other = make_env(task), make_env(task)
    env.reset()
    other.reset()
    with pytest.raises(ArgumentError, match=message):
        env.step(action)
    assert np.array_equal(env.step(np.array([0.1]))[0], other.step(np.array([0.1]))[0])


def test_stepping_needs_a_reset() -> None:
    task = make_task(graphs.residual())
    env = make_env(task)
    with pytest.raises(ResetNeeded):
        env.step(np.array([0.0]))
    roll(env, np.zeros(len(task.names)))
    with pytest.raises(ResetNeeded):
        env.step(np.array([0.0]))
    env.reset()
    env.step(np.array([0.0]))


def test_names_are_checked() -> None:
    task = make_task(graphs.residual())
    with pytest.raises(
        ArgumentError, match="observation must be a known name or an object, got 'acm'; did you mean 'amc'"
    ):
        make_env(task, observation="acm")
    with pytest.raises(
        ArgumentError, match="reward must be a known name or a callable, got 'acc'; did you mean 'accuracy'"
    ):
        make_env(task, reward="acc")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_not_finite_is_an_error(value: float) -> None:
    task = make_task(graphs.residual())
    env = PruningEnv(task, lambda widths: Evaluation(value, {"kl": value}))
    with pytest.raises(ModelError, match="reward of a candidate must be finite"):
        roll(env, np.zeros(len(task.names)))


def test_same_actions_same_trajectory_whatever_the_seed(observation: str) -> None:
    task = make_task(graphs.mobile(), "macs=50%")
    actions = np.random.default_rng(0).uniform(-1, 1, len(task.names))
    env = make_env(task, observation=observation)
    first, second = roll(env, actions), roll(env, actions)
    env.reset(seed=7)
    third = roll(make_env(task, observation=observation), actions)
    for other in (second, third):
        for a, b in zip(first, other, strict=True):
            assert np.array_equal(a[0], b[0])
            assert a[1:4] == b[1:4]
            assert str(a[-1]) == str(b[-1])


def reference_widths(task: Task, actions: np.ndarray) -> list[int]:
    """The plain loop: scale, round down, lower until the rest can still meet the budget."""
    chosen: list[int] = []
    for position, action in enumerate(actions):
        ratio = task.lower + (float(np.float32(action)) + 1) / 2 * (task.upper - task.lower)
        allowed = task.allowed(position).tolist()
        below = [w for w in allowed if w <= ratio * task.sizes[position] + 1e-3] or allowed[:1]
        while len(below) > 1:
            vector = np.array([*chosen, below[-1], *task.min_widths[position + 1 :]])
            if all(getattr(task.graph, k)(task.widths(vector)) <= v for k, v in task.budget.limits.items()):
                break
            below.pop()
        chosen.append(below[-1])
    return chosen


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spare=st.floats(0, 1),
    lower=st.sampled_from([0.0, 0.1, 0.3]),
    upper=st.sampled_from([1.0, 0.8]),
    round_to=st.sampled_from([1, 2, 4]),
    actions=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4),
)
def test_any_actions_end_within_the_budget(
    seed: int, spare: float, lower: float, upper: float, round_to: int, actions: list[float]
) -> None:
    task = random_task(seed, spare, lower=lower, upper=upper, round_to=round_to)
    env = make_env(task)
    wanted = np.array(actions[: len(task.names)], np.float32)
    steps = roll(env, wanted)
    widths = steps[-1][4]["widths"]
    assert task.graph.macs(widths) <= task.budget.limits["macs"]
    assert task.graph.params(widths) <= task.budget.limits.get("params", np.inf)
    assert list(widths.values()) == reference_widths(task, wanted)
    assert all(w in task.allowed(i) for i, w in enumerate(widths.values()))
    assert all(step[0] in env.observation_space for step in steps)
    executed = np.array([step[4]["executed_action"][0] for step in steps[1:]])
    again = roll(env, executed)
    assert again[-1][4]["widths"] == widths
    assert [s[4]["executed_action"][0] for s in again[1:]] == executed.tolist()
