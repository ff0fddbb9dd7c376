"""Which widths are measured, and monotone times between them."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from autoprune.latency.template import Template

Points = Mapping[tuple[int, ...], float]
"""Milliseconds by the values of the variables."""

_BLOCK = 8
"""CPU kernels work on blocks of channels: widths at a multiple and one above it tell the steps."""

_FULL = 2
"""With more variables than this a grid would be too large; times then depend on the work alone."""


def axis(largest: int, points: int) -> list[int]:
    """Values of one variable: all of them if they are few, otherwise multiples of 8 and what lies just above.

    Args:
        largest: In the dense network.
        points: How many there may be, about.
    """
    if largest <= points:
        return list(range(1, largest + 1))
    pairs = max(1, (points - 1) // 2)
    step = max(1, round(largest / pairs / _BLOCK)) * _BLOCK
    tops = range(step, largest, step)
    return sorted({1, *tops, *(top + 1 for top in tops), largest})


def grid(sizes: Sequence[int], points: int) -> list[tuple[int, ...]]:
    """All values that are measured of a layer with these dense sizes."""
    if len(sizes) <= _FULL:
        return list(product(*(axis(size, points) for size in sizes)))
    shares = np.linspace(0, 1, max(points, 3))
    return sorted({tuple(max(1, round(float(share) * size)) for size in sizes) for share in shares})


def covers(points: Points, sizes: Sequence[int]) -> bool:
    """Whether times up to these sizes can be told without extrapolation."""
    return any(all(v >= size for v, size in zip(at, sizes, strict=True)) for at in points)


def lookup(points: Points, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Times at every value of the variables, shape (size + 1, ...), never falling along any dimension.

    For layers with at most two variables; the value 0 does not occur.
    """
    axes = [np.array(sorted({at[i] for at in points})) for i in range(len(sizes))]
    known = np.full([len(a) for a in axes], np.nan)
    for at, ms in points.items():
        known[tuple(int(np.searchsorted(a, v)) for a, v in zip(axes, at, strict=True))] = ms
    table = monotone(known)
    for i, (values, size) in enumerate(zip(axes, sizes, strict=True)):
        table = np.apply_along_axis(_stretch, i, table, np.arange(size + 1), values)
    return np.asarray(table, np.float64)


def curve(template: Template, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Work and times of a layer with many variables, both never falling, as the nodes of a piecewise line."""
    works: dict[int, list[float]] = {}
    for at, ms in points.items():
        works.setdefault(template.work(at), []).append(ms)
    ordered = sorted(works)
    times = monotone(np.array([float(np.median(works[work])) for work in ordered]))
    return np.array(ordered, np.float64), times


def monotone(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values that never fall along any dimension, near those that are given; nan where none was measured.

    The mean of the largest value up to a place and the smallest from it on: both never fall, and noise moves
    one up and the other down.
    """
    low, high = np.where(np.isnan(values), -np.inf, values), np.where(np.isnan(values), np.inf, values)
    for d in range(values.ndim):
        low = np.maximum.accumulate(low, d)
        high = np.flip(np.minimum.accumulate(np.flip(high, d), d), d)
    low, high = np.where(np.isinf(low), high, low), np.where(np.isinf(high), low, high)
    result = (low + high) / 2
    for d in range(values.ndim):
        result = np.maximum.accumulate(result, d)
    return result


def _stretch(
    times: NDArray[np.float64], wanted: NDArray[np.int64], values: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.interp(wanted, values, times)
