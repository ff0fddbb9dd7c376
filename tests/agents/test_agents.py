"""What holds for every agent."""

import copy
import random
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from autoprune.agents import AGENTS, Agent, Episode, make_agent
from autoprune.allocation import greedy, uniform
from autoprune.envs import PruningEnv
from autoprune.errors import ArgumentError
from autoprune.run.checkpoint import Checkpoint, Checkpoints
from tests.agents.problem import Hidden, make_env, make_task

SMALL: dict[str, Any] = {"hidden": (16, 16), "batch_episodes": 8, "gradient_steps": 3, "imitation_steps": 3}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("uniform", "greedy", "random", "cmaes", "surrogate")},
    "amc": ("ddpg", {"variant": "amc", "warmup": 3, "memory": 4, **SMALL}),
    "offset": ("ddpg", {"variant": "greedy", "memory": 4, **SMALL}),
    "credit": ("ddpg", {"variant": "credit", "memory": 4, **SMALL}),
    "dyna": ("ddpg", {"kept_rounds": 3, "memory": 4, **SMALL}),
}
SEARCHES = [kind for kind in KINDS if kind not in ("uniform", "greedy")]


def make(kind: str, seed: int = 0, env: PruningEnv | None = None) -> Agent:
    name, settings = KINDS[kind]
    return make_agent(name, env or make_env(), seed, **settings)


def play(agent: Agent, count: int) -> list[Episode]:
    episodes = []
    while len(episodes) < count and not agent.finished:
        episodes.append(agent.run_episode())
    return episodes


def essence(episodes: list[Episode]) -> list[tuple[int, dict[str, int], float]]:
    return [(e.number, e.widths, e.reward) for e in episodes]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def test_every_registered_agent_is_tested() -> None:
    assert {name for name, _ in KINDS.values()} == set(AGENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_episodes(kind: str) -> None:
    assert essence(play(make(kind), 9)) == essence(play(make(kind), 9))


@pytest.mark.parametrize("kind", SEARCHES)
def test_another_seed_gives_other_episodes(kind: str) -> None:
    assert essence(play(make(kind), 9)) != essence(play(make(kind, seed=1), 9))


@pytest.mark.parametrize("interrupted", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("kind", SEARCHES)
def test_interrupted_and_resumed_is_uninterrupted_to_the_last_bit(
    kind: str, interrupted: int, tmp_path: Path
) -> None:
    whole = make(kind)
    expected = play(whole, 12)
    first = make(kind)
    play(first, interrupted)
    store = Checkpoints(tmp_path)
    store.save(Checkpoint(first.state_dict(), []))
    play(first, 3)
    loaded = store.load()
    assert loaded is not None
    second = make(kind, seed=5)
    play(second, 4)
    second = make(kind)
    second.load_state_dict(loaded.agent)
    assert essence(play(second, 12 - interrupted)) == essence(expected[interrupted:])
    mine, theirs = second.state_dict(), whole.state_dict()
    assert mine.keys() == theirs.keys()
    assert [key for key in mine if not equal(mine[key], theirs[key])] == []


@pytest.mark.parametrize("kind", SEARCHES)
def test_an_agent_that_has_played_can_load_a_state(kind: str) -> None:
    saved = make(kind)
    play(saved, 5)
    state = copy.deepcopy(saved.state_dict())
    other = make(kind)
    play(other, 9)
    other.load_state_dict(state)
    assert essence(play(other, 4)) == essence(play(saved, 4))


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_state_is_a_copy(kind: str) -> None:
    agent = make(kind)
    play(agent, 5)
    state = agent.state_dict()
    before = copy.deepcopy(state)
    play(agent, 3)
    assert [key for key in state if not equal(state[key], before[key])] == []


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
