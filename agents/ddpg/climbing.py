"""From candidates to better ones nearby, by a model that costs nothing."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.task import Task

_STEPS = 12
_TRIED = 128
_FALL = 0.35
"""Steps through the allowed widths are geometrically distributed with this parameter."""


def climbed(
    task: Task,
    starts: Vector,
    promise: Callable[[Vector], NDArray[np.float64]],
    rng: np.random.Generator,
) -> Vector:
    """Climb in what candidates promise by exchanges: one group narrower (or as it was), another one wider.

    Noise on a policy changes many groups at once; with many groups hardly any of what it meets is better than
    what is known. Every step tries random exchanges around each candidate and takes the best if it is better.

    Args:
        task: The problem.
        starts: Candidates within the budget, shape (k, n).
        promise: Of candidates (b, n), shape (b,), higher is better.
        rng: Source of randomness.

    Returns:
        Candidates within the budget, shape (k, n), none of which promises less than its start.
    """
    k, n = starts.shape
    if n < 2 or k == 0:
        return starts
    allowed = [task.allowed(i) for i in range(n)]
    last = np.array([len(widths) - 1 for widths in allowed])
    widths = np.stack([np.pad(a, (0, last.max() - len(a) + 1), "edge") for a in allowed])
    at = np.stack([np.searchsorted(a, starts[:, i]) for i, a in enumerate(allowed)], axis=1)
    best = promise(starts)
    every = np.arange(k * _TRIED)
    for _ in range(_STEPS):
        tried = np.repeat(at, _TRIED, axis=0)
        narrower = rng.integers(n, size=len(every))
        wider = (narrower + rng.integers(1, n, size=len(every))) % n
        tried[every, narrower] -= rng.geometric(_FALL, len(every)) - 1
        tried[every, wider] += rng.geometric(_FALL, len(every))
        tried = tried.clip(0, last)
        rows = widths[np.arange(n), tried]
        holds = task.budget.holds(rows)
        promised = np.full(len(every), -np.inf)
        promised[holds] = promise(rows[holds])
        top = promised.reshape(k, _TRIED).argmax(1) + np.arange(k) * _TRIED
        better = promised[top] > best
        at[better], best[better] = tried[top[better]], promised[top[better]]
    result: Vector = widths[np.arange(n), at]
    return result
