"""Interrupted and resumed is the same as uninterrupted."""

import copy
from pathlib import Path

import pytest

from autoprune.run.checkpoint import Checkpoint, Checkpoints
from tests.agents.kinds import SEARCHES, equal, essence, make, play


@pytest.mark.parametrize("interrupted", [0, 2, 7])
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


@pytest.mark.parametrize("kind", ["random", "surrogate", "amc", "dyna"])
def test_the_random_state_is_part_of_it(kind: str) -> None:
    """A negative control: with another random state the same agent goes on differently."""
    agent, other = make(kind), make(kind)
    play(agent, 4)
    state = agent.state_dict() | {"rng": make(kind, seed=9).state_dict()["rng"]}
    other.load_state_dict(state)
    assert essence(play(other, 5)) != essence(play(agent, 5))
