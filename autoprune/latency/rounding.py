"""Channel multiples that a device likes, read off its latency table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Vector
from autoprune.latency.cost import LatencyCost

MULTIPLES = (64, 32, 16, 8, 4, 2)

FREE = 0.25
"""A multiple is taken where filling up to it costs at most this part of what it would in proportion."""


def channel_multiples(cost: LatencyCost, sizes: Sequence[int]) -> tuple[int, ...]:
    """The largest multiple for every group that channels up to it come (almost) free.

    Where a kernel computes blocks of 16 channels, 17 cost as much as 32: only multiples of 16 are worth
    choosing. Where the time grows evenly with the channels there is no such block, and the answer is 1.

    The time of the whole network is looked at as a function of one group, the others dense. For a multiple m,
    the rise from every width to the next multiple of m is summed up, and so is the rise that a straight line
    from each multiple to the next would have; the multiple is taken if the first is at most a quarter of the
    second. What layers by themselves do not show is `cost.step`, which is kept too, up to a quarter of a
    group: four widths to choose from.

    Args:
        cost: The latency.
        sizes: Dense widths of the prunable groups, in network order.

    Returns:
        One of 1, 2, 4, ... 64 per group, at most half of its size.
    """
    dense = np.array(sizes, np.int64)
    alone = (_multiple(_alone(cost, dense, at)) for at in range(len(dense)))
    return tuple(max(one, _within(cost.step, size)) for one, size in zip(alone, sizes, strict=True))


def _within(step: int, size: int) -> int:
    return next((m for m in MULTIPLES if m <= step and 4 * m <= size), 1)


def _alone(cost: LatencyCost, dense: Vector, at: int) -> NDArray[np.float64]:
    """Shape (size,): milliseconds at widths 1 to size of one group."""
    rows = np.repeat(dense[None], dense[at], axis=0)
    rows[:, at] = np.arange(1, dense[at] + 1)
    return np.asarray(cost.raw(rows), np.float64)


def _multiple(times: NDArray[np.float64]) -> int:
    size = len(times)
    return next((m for m in MULTIPLES if 2 * m <= size and _free(times, m)), 1)


def _free(times: NDArray[np.float64], multiple: int) -> bool:
    """Whether filling up to the next multiple, or to the full size, is (almost) free."""
    size = len(times)
    widths = np.arange(1, size + 1)
    starts = (widths - 1) // multiple * multiple
    tops = np.minimum(starts + multiple, size)
    low, high = times[np.maximum(starts, 1) - 1], times[tops - 1]
    rise = (high - times).sum()
    even = ((high - low) * (tops - widths) / (tops - starts)).sum()
    return bool(high[-1] > times[0] and rise <= FREE * even)
