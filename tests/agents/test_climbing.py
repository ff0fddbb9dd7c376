"""Exchanges between groups, against all exchanges there are."""

from itertools import permutations

import numpy as np
import pytest

from autoprune.agents.ddpg.climbing import climbed
from autoprune.allocation import greedy, uniform
from autoprune.task import Task
from tests.agents.problem import make_task


class Promise:
    """Minus a weighted sum of the curve errors; only candidates within the budget may be asked for."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self._weights = 10.0 ** np.random.default_rng(seed).uniform(-1, 1, len(task.names))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        assert self.task.budget.holds(vectors).all()
        result: np.ndarray = -self.task.errors(vectors) @ self._weights
        return result


def best_exchange(task: Task, vector: np.ndarray, promise: Promise) -> float:
    """The most that any narrower group (or none) and any wider one give."""
    found = []
    for less, more in permutations(range(len(vector)), 2):
        for a in task.allowed(less)[task.allowed(less) <= vector[less]]:
            for b in task.allowed(more)[task.allowed(more) > vector[more]]:
                tried = vector.copy()
                tried[[less, more]] = a, b
                if task.budget.holds(tried[None])[0]:
                    found.append(promise(tried[None])[0])
    return max(found, default=-np.inf)


@pytest.mark.parametrize("seed", range(4))
def test_hardly_an_exchange_is_left_that_promises_more(seed: int) -> None:
    task = make_task(1, seed)
    promise = Promise(task, seed)
    starts = np.stack([greedy(task), uniform(task)])
    ends = climbed(task, starts, promise, np.random.default_rng(seed))
    assert task.budget.holds(ends).all()
    assert all(end[i] in task.allowed(i) for end in ends for i in range(len(end)))
    for start, end in zip(starts, ends, strict=True):
        gained = promise(end[None])[0] - promise(start[None])[0]
        assert gained >= 0
        left = best_exchange(task, end, promise) - promise(end[None])[0]
        assert left <= 0.3 * max(gained, best_exchange(task, start, promise) - promise(start[None])[0])
    assert promise(ends).max() > promise(starts).max()


def test_the_same_randomness_climbs_alike_and_leaves_the_starts() -> None:
    task = make_task()
    starts = greedy(task)[None]
    before = starts.copy()
    first, second, other = (
        climbed(task, starts, Promise(task, 1), np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert (first == second).all() and (first != other).any() and (starts == before).all()


def test_nothing_to_exchange() -> None:
    task = make_task()
    assert climbed(task, greedy(task)[None][:0], Promise(task, 0), np.random.default_rng(0)).shape == (
        0,
        len(task.names),
    )
    full = make_task(budget="macs=100%")
    top = full.max_widths[None]
    assert (climbed(full, top, Promise(full, 0), np.random.default_rng(0)) == top).all()
