"""Several candidates at a time: named together, played and learned from one after the other."""

from typing import Any

import numpy as np
import pytest

from autoprune.errors import ArgumentError
from tests.agents.kinds import KINDS, SEARCHES, equal, essence, make, play


def ahead(kind: str, count: int, told: list[Any] | None = None, seed: int = 0) -> Any:
    agent: Any = make(kind, seed)
    agent.look_ahead(count, (told if told is not None else []).append)
    return agent


@pytest.mark.parametrize("kind", KINDS)
def test_one_at_a_time_is_what_agents_do(kind: str) -> None:
    assert essence(play(ahead(kind, 1), 8)) == essence(play(make(kind), 8))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", SEARCHES)
def test_what_is_told_is_what_is_played(kind: str, count: int) -> None:
    told: list[Any] = []
    played = [episode.widths for episode in play(ahead(kind, count, told), 7)]
    assert [len(batch) for batch in told] == [count] * -(-7 // count)
    assert [widths for batch in told for widths in batch][:7] == played


@pytest.mark.parametrize("kind", SEARCHES)
def test_the_same_seed_and_count_give_the_same_episodes(kind: str) -> None:
    first = essence(play(ahead(kind, 3), 9))
    assert first == essence(play(ahead(kind, 3), 9))
    assert first != essence(play(ahead(kind, 3, seed=1), 9))


@pytest.mark.parametrize("kind", ["surrogate", "dyna"])
def test_no_candidate_is_named_twice_in_a_batch(kind: str) -> None:
    told: list[Any] = []
    play(ahead(kind, 4, told), 12)
    for batch in told:
        assert len({tuple(widths.values()) for widths in batch}) == 4


@pytest.mark.parametrize("interrupted", [1, 3, 5])
@pytest.mark.parametrize("kind", SEARCHES)
def test_an_interruption_within_a_batch_changes_nothing(kind: str, interrupted: int) -> None:
    whole = essence(play(ahead(kind, 3), 9))
    first = ahead(kind, 3)
    before = play(first, interrupted)
    told: list[Any] = []
    second = ahead(kind, 3, told)
    second.load_state_dict(first.state_dict())
    assert len(told) == (interrupted % 3 > 0), "what is left of the batch is told again"
    assert all(equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    assert essence(before) + essence(play(second, 9 - interrupted)) == whole


def test_bad_counts_are_refused() -> None:
    with pytest.raises(ArgumentError, match="count must be at least 1"):
        ahead("random", 0)
    agent: Any = make("random")
    agent.run_episode()
    with pytest.raises(ArgumentError, match="before the first episode"):
        agent.look_ahead(2, lambda batch: None)
    with pytest.raises(ArgumentError, match="names 1 candidates at a time, got 2"):
        make("random").load_state_dict(ahead("random", 2).state_dict())
    assert np.shape(agent.state_dict()["queue"]) == (0, len(agent.task.names))
