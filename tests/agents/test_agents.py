"""What holds for every agent."""

import random
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from autoprune.agents import AGENTS, make_agent
from autoprune.allocation import greedy, uniform
from autoprune.errors import ArgumentError
from tests.agents.kinds import KINDS, SEARCHES, essence, make, play
from tests.agents.problem import Hidden, make_env, make_task


def test_every_registered_agent_is_tested() -> None:
    assert {name for name, _ in KINDS.values()} == set(AGENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_episodes(kind: str) -> None:
    assert essence(play(make(kind), 9)) == essence(play(make(kind), 9))


@pytest.mark.parametrize("kind", SEARCHES)
def test_another_seed_gives_other_episodes(kind: str) -> None:
    assert essence(play(make(kind), 9)) != essence(play(make(kind, seed=1), 9))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limits", [{}, {"round_to": 4}, {"upper": 0.8}, {"lower": 0.3}])
def test_the_budget_always_holds(kind: str, limits: dict[str, Any]) -> None:
    task = make_task(1, **limits)
    for episode in play(make(kind, env=make_env(task)), 8):
        vector = task.vector(episode.widths)
        assert task.budget.holds(vector)
        assert (task.round_down(vector) == vector).all()
        assert episode.costs["macs"] == task.graph.macs(episode.widths)


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_states_are_not_touched(kind: str) -> None:
    def states() -> tuple[Any, ...]:
        return random.getstate(), str(np.random.get_state()), torch.random.get_rng_state().tolist()

    before = states()
    agent = make(kind)
    play(agent, 6)
    agent.load_state_dict(agent.state_dict())
    assert states() == before


@pytest.mark.parametrize("kind", SEARCHES)
def test_global_random_states_do_not_matter(kind: str) -> None:
    expected = essence(play(make(kind), 6))
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    assert essence(play(make(kind), 6)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_episodes_tell_what_was_evaluated(kind: str) -> None:
    env = make_env()
    agent = make(kind, env=env)
    hidden = env._episodes.evaluate
    assert isinstance(hidden, Hidden)
    episodes = play(agent, 6)
    assert [tuple(agent.task.vector(e.widths).tolist()) for e in episodes] == hidden.asked
    for number, episode in enumerate(episodes):
        assert episode.number == number
        assert episode.reward == episode.evaluation.score
        assert episode.seconds > 0
    assert agent.episodes == len(episodes)


@pytest.mark.parametrize(("kind", "allocation"), [("greedy", greedy), ("uniform", uniform)])
def test_fixed_agents_play_their_allocation_once(kind: str, allocation: Any) -> None:
    agent = make(kind)
    (episode,) = play(agent, 5)
    assert episode.widths == agent.task.widths(allocation(agent.task))
    assert agent.finished
    with pytest.raises(ArgumentError, match="must not run again"):
        agent.run_episode()
    fresh = make(kind)
    fresh.load_state_dict(agent.state_dict())
    assert fresh.finished


@pytest.mark.parametrize("kind", ["cmaes", "surrogate", "offset", "credit", "dyna"])
def test_the_first_episode_is_greedy(kind: str) -> None:
    agent = make(kind)
    assert agent.run_episode().widths == agent.task.widths(greedy(agent.task))


@pytest.mark.parametrize("kind", SEARCHES)
def test_rewards_of_either_sign(kind: str) -> None:
    episodes = play(make(kind, env=make_env(reward="accuracy")), 8)
    assert all(0 < e.reward < 1 for e in episodes)


def test_random_candidates_use_the_budget() -> None:
    agent = make("random", env=make_env(make_task(3)))
    limit = agent.task.budget.limits["macs"]
    used = [e.costs["macs"] / limit for e in play(agent, 20)]
    assert min(used) > 0.93


def test_wrappers_are_taken_off() -> None:
    task = make_task()
    env = gymnasium.make("autoprune/Pruning-v0", task=task, evaluate=Hidden(task))
    assert make_agent("greedy", env).run_episode().widths == task.widths(greedy(task))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ddgp", {}, "did you mean 'ddpg'"),
        ("random", {"warmup": 3}, "unexpected keyword argument 'warmup'"),
        ("cmaes", {"span": 0}, "span must be a positive number"),
        ("surrogate", {"noises": ()}, "noises must be positive numbers"),
        ("ddpg", {"variant": "dina"}, "variant must be a known name"),
        ("ddpg", {"warmpu": 3}, "did you mean 'warmup'"),
        ("ddpg", {"tau": 2}, "tau must be a number of at least 0 and at most 1, got 2"),
        ("ddpg", {"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ("ddpg", {"hidden": []}, "hidden must name at least one layer"),
        ("ddpg", {"noise": float("nan")}, "noise must be a number"),
    ],
)
def test_bad_settings_are_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make_agent(name, make_env(), **settings)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_bad_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(ArgumentError, match="seed must be an integer"):
        make_agent("random", make_env(), seed)


def test_a_foreign_environment_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be a PruningEnv"):
        make_agent("random", gymnasium.make("CartPole-v1"))


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(ArgumentError, match="its 'agent' is 'random', not 'cmaes'"):
        make("cmaes").load_state_dict(make("random").state_dict())
    with pytest.raises(ArgumentError, match="its 'groups' is 6, not 3"):
        make("random", env=make_env(make_task(1))).load_state_dict(make("random").state_dict())
