"""Whether another filter does the same."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filters import filter_scores

PART = 1024
"""Filters whose correlations with all others are held at once."""


class FilterCorrelation(Criterion):
    """1 minus the largest absolute correlation of a filter with another filter of its layer.

    The correlation is Pearson's, over the weights of two filters. A filter whose weights are all alike
    correlates with none (score 1), unless they are all zero: it is then redundant (score 0).

    The filters of a layer are those that put out units of one group; where several layers put a group out,
    their scores are added up. Both filters of a pair that does the same get the low score.
    """

    name: ClassVar[str] = "filter_correlation"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Wang et al. 2019 (COP), arXiv:1906.10337"

    def scores(self, context: Context) -> dict[str, Tensor]:
        """1 minus the largest absolute correlation per unit, in 0..1 per layer that puts the unit out."""
        return filter_scores(context, _distinctness)


def _distinctness(rows: Tensor) -> Tensor:
    centered = rows - rows.mean(1, keepdim=True)
    lengths, sizes = centered.norm(dim=1, keepdim=True), rows.norm(dim=1, keepdim=True)
    flat = lengths <= 1e-12 * sizes
    unit = torch.where(flat, 0, centered / lengths.clamp_min(1e-300))
    largest = []
    for start in range(0, len(rows), PART):
        correlations = (unit[start : start + PART] @ unit.mT).abs()
        correlations.diagonal(start).zero_()
        largest.append(correlations.amax(1))
    distinct = 1 - torch.cat(largest).clamp_max(1)
    return distinct.masked_fill(sizes[:, 0] == 0, 0)
