"""Rank correlation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing the mean of their ranks.

    Args:
        first: Numbers.
        second: As many numbers.

    Returns:
        -1 to 1; nan where there are fewer than two pairs or all values of one side are equal.
    """
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    a, b = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    return float((a @ b) / np.sqrt((a @ a) * (b @ b)))


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
