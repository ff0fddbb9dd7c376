"""Rank correlation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.criteria.layer_norms import mean_places


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
    return float((a @ b) / (a.norm() * b.norm()))


def _ranks(values: Sequence[float]) -> Tensor:
    return mean_places(torch.as_tensor(values, dtype=torch.float64))
