"""Where DDPG differs from stable-baselines3's, and what it learns."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autoprune.agents import DDPGAgent, make_agent
from autoprune.agents.ddpg.free import FreeEpisodes
from autoprune.agents.ddpg.labels import final_rewards, standard_returns
from autoprune.agents.ddpg.noise import sigma_at, truncated_normal
from autoprune.agents.walk import actions_of
from autoprune.allocation import greedy
from autoprune.errors import ArgumentError
from tests.agents.problem import make_env, make_task

SMALL: dict[str, Any] = {"hidden": (16, 16), "batch_episodes": 16, "gradient_steps": 5, "imitation_steps": 5}


def test_truncated_normal_against_rejection() -> None:
    rng = np.random.default_rng(0)
    for mean, sigma in [(0.0, 0.3), (0.9, 0.5), (-1.0, 1.0), (0.2, 3.0)]:
        drawn = truncated_normal(np.full(40_000, mean), sigma, rng)
        raw = rng.normal(mean, sigma, 400_000)
        slow = raw[np.abs(raw) <= 1]
        assert np.abs(drawn).max() <= 1
        quantiles = np.linspace(0.05, 0.95, 10)
        assert np.allclose(np.quantile(drawn, quantiles), np.quantile(slow, quantiles), atol=0.03)


def test_no_noise_returns_the_mean() -> None:
    mean = np.array([-1.0, 0.25, 1.0])
    assert np.array_equal(truncated_normal(mean, 0.0, np.random.default_rng(0)), mean)


def test_noise_decays_per_episode_behind_the_warmup() -> None:
    settings = {"warmup": 3, "start": 0.8, "decay": 0.5, "floor": 0.15}
    sigmas = [sigma_at(e, **settings) for e in range(8)]  # type: ignore[arg-type]
    assert sigmas == [0.8, 0.8, 0.8, 0.8, 0.4, 0.2, 0.15, 0.15]
    agent = DDPGAgent(make_env(), variant="greedy", noise=0.4, noise_decay=0.5, noise_floor=0.0, **SMALL)
    seen = []
    for _ in range(4):
        seen.append(agent.sigma)
        agent.run_episode()
    assert seen == [0.4, 0.2, 0.1, 0.05]


def test_the_executed_action_is_stored() -> None:
    """Under a tight budget the wall lowers most of what a uniform warm-up asks for."""
    task = make_task(budget="macs=25%")
    agent = DDPGAgent(make_env(task), variant="amc", warmup=10, **SMALL)
    asked: list[float] = []
    walk = agent._alone.walk
    agent._alone.walk = lambda choose: walk(lambda at, seen: noted(choose(at, seen)))  # type: ignore[method-assign]

    def noted(actions: NDArray[np.float64]) -> NDArray[np.float64]:
        asked.extend(actions)
        return actions

    vectors = [task.vector(agent.run_episode().widths) for _ in range(5)]
    stored = agent._algorithm.replay_buffer.actions[: 5 * len(task.names), 0, 0]
    assert np.array_equal(stored, actions_of(task, np.array(vectors)).astype(np.float32).ravel())
    assert np.abs(stored - np.array(asked)).max() > 0.5


def test_warmup_is_uniform_and_does_not_learn() -> None:
    agent = DDPGAgent(make_env(), variant="amc", warmup=3, **SMALL)
    first = {k: v.clone() for k, v in agent._algorithm.actor.state_dict().items()}
    for _ in range(3):
        agent.run_episode()
    assert all(torch.equal(v, first[k]) for k, v in agent._algorithm.actor.state_dict().items())
    agent.run_episode()
    assert not all(torch.equal(v, first[k]) for k, v in agent._algorithm.actor.state_dict().items())


def test_two_learning_rates() -> None:
    agent = DDPGAgent(make_env(), variant="amc", warmup=0, **SMALL)
    agent.run_episode()
    assert agent._algorithm.actor.optimizer.param_groups[0]["lr"] == 1e-4
    assert agent._algorithm.critic.optimizer.param_groups[0]["lr"] == 1e-3


def test_amc_pays_the_final_reward_on_every_step() -> None:
    agent = DDPGAgent(make_env(), variant="amc", warmup=2, memory=3, **SMALL)
    rewards = [agent.run_episode().reward for _ in range(5)]
    buffer, n = agent._algorithm.replay_buffer, len(agent.task.names)
    in_slots = [rewards[3], rewards[4], rewards[2]]
    assert np.array_equal(buffer.rewards[:, 0].reshape(3, n), np.repeat(np.float32([in_slots]).T, n, axis=1))
    assert np.array_equal(buffer.dones[:, 0].reshape(3, n), np.eye(n)[[-1] * 3])
    assert buffer.baseline is not None
    assert min(rewards) <= buffer.baseline <= max(rewards)


def test_final_rewards() -> None:
    rewards, ends = final_rewards(np.array([1.0, 2.0]), 3)
    assert rewards.tolist() == [[1, 1, 1], [2, 2, 2]]
    assert ends.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_standard_returns_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    credits, totals = rng.normal(size=(7, 4)), rng.normal(size=7)
    returns = np.zeros((7, 4))
    for k in range(7):
        for i in range(4):
            returns[k, i] = sum(credits[k, j] for j in range(i, 4)) + totals[k] - sum(credits[k])
    centered = returns - returns.mean(0)
    targets, ends = standard_returns(credits, totals)
    assert np.allclose(targets, np.clip(centered / centered.std(), -3, 3))
    assert (ends == 1).all()
    assert np.allclose(returns[:, 0], totals), "the return of a whole episode is its reward"


def test_free_episodes_walk_like_the_environment() -> None:
    env = make_env(make_task(budget="macs=30%"))
    rng = np.random.default_rng(0)
    rollouts = FreeEpisodes(env, 5).explore(lambda seen: np.tanh(seen[:, -1] - seen[:, 0]), 0.5, rng)
    for observations, actions, vector in zip(*rollouts, strict=True):
        seen = [env.reset()[0]]
        for action in actions:
            observation, _, _, _, info = env.step(np.array([action]))
            seen.append(observation)
        assert np.array_equal(env.task.vector(info["widths"]), vector)
        assert np.array_equal(np.stack(seen), observations)


def test_free_episodes_evaluate_nothing() -> None:
    env = make_env()
    agent = DDPGAgent(env, **SMALL)
    for _ in range(4):
        agent.run_episode()
    assert len(env._episodes.evaluate.asked) == 4  # type: ignore[attr-defined]


def test_an_offset_actor_starts_at_the_reference() -> None:
    task = make_task(3)
    agent = DDPGAgent(make_env(task), variant="greedy")
    vector = agent.policy.decide(task)
    assert np.abs(vector - greedy(task)).max() <= 0.06 * task.sizes.max()
    rng = np.random.default_rng(0)
    wild = rng.uniform(-1, 1, (500, *agent.env.observation_space.shape)).astype(np.float32)  # type: ignore[misc]
    with torch.no_grad():
        agent._algorithm.actor.mu[-2].weight.mul_(1e4)
    assert np.abs(agent._algorithm.act(wild)).max() <= 1.0 + 1e-6


def test_an_offset_actor_needs_the_reference() -> None:
    with pytest.raises(ArgumentError, match="must have the feature 'reference'"):
        DDPGAgent(make_env(observation="amc"))
    assert DDPGAgent(make_env(observation="amc"), variant="amc", **SMALL).run_episode().number == 0


def test_no_candidate_is_evaluated_twice() -> None:
    env = make_env()
    agent = DDPGAgent(env, **SMALL)
    for _ in range(25):
        agent.run_episode()
    asked = env._episodes.evaluate.asked  # type: ignore[attr-defined]
    assert len(set(asked)) == len(asked)


def test_a_tiny_problem_can_be_exhausted() -> None:
    task = make_task(1, budget="macs=70%", round_to=16)
    agent = DDPGAgent(make_env(task), **SMALL | {"batch_episodes": 4})
    assert len([agent.run_episode() for _ in range(30)]) == 30


def test_a_policy_decides_like_its_agent_without_noise() -> None:
    agent = DDPGAgent(make_env(), **SMALL)
    for _ in range(6):
        agent.run_episode()
    env = make_env()
    observation, _ = env.reset()
    done = False
    while not done:
        observation, _, done, _, info = env.step(agent._algorithm.act(observation[None]))
    assert np.array_equal(agent.policy.decide(agent.task), env.task.vector(info["widths"]))


def test_a_policy_moves_to_another_network_and_budget() -> None:
    agent = DDPGAgent(make_env(), **SMALL)
    for _ in range(6):
        agent.run_episode()
    other = make_task(4, seed=3, budget="macs=35%")
    assert other.budget.holds(agent.policy.decide(other))


def test_a_policy_is_a_copy() -> None:
    agent = DDPGAgent(make_env(), **SMALL)
    agent.run_episode()
    policy = agent.policy
    before = policy.tensors
    for _ in range(3):
        agent.run_episode()
    assert all(torch.equal(value, before[name]) for name, value in policy.tensors.items())


@pytest.mark.parametrize("seed", [0, 1])
def test_ddpg_learns(seed: int) -> None:
    """Thirty episodes: better than as many of random search, and than greedy, which it starts from."""
    small = {"hidden": (64, 64), "batch_episodes": 64, "gradient_steps": 10, "imitation_steps": 10}
    task, best = make_task(2, seed), {}
    for name, episodes, settings in (("greedy", 1, {}), ("random", 30, {}), ("ddpg", 30, small)):
        agent = make_agent(name, make_env(task, seed), seed, **settings)
        best[name] = max(agent.run_episode().reward for _ in range(episodes))
    assert best["ddpg"] > best["random"]
    assert best["ddpg"] > best["greedy"]
