"""How far a filter lies from the middle of all filters."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filters import filter_scores

PART = 1024
"""Filters whose distances to all others are held at once."""


class GeometricMedian(Criterion):
    """Sum of the Euclidean distances of a filter to all other filters of its layer (FPGM).

    The point with the least sum of distances is the geometric median; a filter close to it is one that the
    others can make up for. He et al. do not solve for that point: they look for it among the filters
    themselves and remove those with the least sums, which is what this does.

    The filters of a layer are those that put out units of one group; where several layers put a group out,
    their sums are added up.
    """

    name: ClassVar[str] = "geometric_median"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "He et al. 2019, arXiv:1811.00250"

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Sum of distances per unit."""
        return filter_scores(context, _distances)


def _distances(rows: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, rows).sum(1) for part in torch.split(rows, PART)])
