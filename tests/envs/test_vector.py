from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG

from autoprune.envs import CurveCredit, PruningEnv
from autoprune.envs.vector import PruningVecEnv
from autoprune.errors import ArgumentError
from tests.budget import graphs
from tests.envs.problems import Quadratic, make_task


@pytest.mark.parametrize("observation", ["default", "amc"])
@pytest.mark.parametrize("budget", ["macs=50%", "macs=40%,params=45%"])
@pytest.mark.parametrize("make", graphs.ALL)
def test_equals_single_environments_step_by_step(make: Any, budget: str, observation: str) -> None:
    task = make_task(make(), budget)
    count, n = 5, len(task.names)
    settings: dict[str, Any] = {
        "observation": observation,
        "credit": CurveCredit(task, np.linspace(0.5, 2, n)),
    }
    vector = PruningVecEnv(task, Quadratic(task), count, **settings)
    singles = [PruningEnv(task, Quadratic(task), **settings) for _ in range(count)]
    actions = np.random.default_rng(0).uniform(-1.2, 1.2, (2 * n, count, 1)).astype(np.float32)
    seen = vector.reset()
    assert np.array_equal(seen, [env.reset()[0] for env in singles])
    for action in actions:
        seen, rewards, dones, infos = vector.step(action)
        for i, env in enumerate(singles):
            current, reward, terminated, truncated, info = env.step(action[i])
            assert infos[i].pop("TimeLimit.truncated") is truncated
            if terminated:
                assert np.array_equal(infos[i].pop("terminal_observation"), current)
                current = env.reset()[0]
            assert np.array_equal(seen[i], current)
            assert rewards[i] == np.float32(reward)
            assert dones[i] == terminated
            assert str(infos[i]) == str(info)


def test_observations_are_not_shared_between_steps() -> None:
    task = make_task(graphs.residual())
    vector = PruningVecEnv(task, Quadratic(task), 2)
    first = vector.reset()
    kept = first.copy()
    second = vector.step(np.full((2, 1), 0.3))[0]
    vector.step(np.full((2, 1), -0.3))
    assert np.array_equal(first, kept) and not np.array_equal(second, kept)


def test_a_bad_action_of_one_episode_stops_all() -> None:
    task = make_task(graphs.residual())
    vector = PruningVecEnv(task, Quadratic(task), 2)
    vector.reset()
    with pytest.raises(ArgumentError, match="must be finite"):
        vector.step(np.array([[0.0], [np.nan]]))
    with pytest.raises(ArgumentError, match=r"must have shape \(2, 1\), got \(3, 1\)"):
        vector.step(np.zeros((3, 1)))


def test_attributes_and_methods_reach_all_episodes() -> None:
    task = make_task(graphs.residual())
    vector = PruningVecEnv(task, Quadratic(task), 3)
    assert vector.get_attr("task") == [task] * 3
    assert vector.get_attr("render_mode", 0) == [None]
    vector.set_attr("note", "x")
    assert vector.get_attr("note", [0, 2]) == ["x", "x"]
    assert vector.has_attr("task") and not vector.has_attr("missing")
    assert vector.env_is_wrapped(PruningEnv) == [False] * 3  # type: ignore[arg-type]
    assert vector.seed(1) == [1, 2, 3]
    vector.close()


@pytest.mark.parametrize("count", [1, 4])
def test_stable_baselines3_learns_on_it(count: int) -> None:
    task = make_task(graphs.residual())
    evaluate = Quadratic(task)
    env = PruningVecEnv(task, evaluate, count) if count > 1 else PruningEnv(task, evaluate)
    model = DDPG(
        "MlpPolicy",
        env,
        seed=0,
        learning_starts=8,
        batch_size=8,
        train_freq=1,
        buffer_size=200,
        policy_kwargs={"net_arch": [8]},
        device="cpu",
    )
    with torch.random.fork_rng():
        model.learn(10 * len(task.names))
    assert len(evaluate.calls) >= 8
    assert all(task.budget.holds(task.vector(widths)) for widths in evaluate.calls)
