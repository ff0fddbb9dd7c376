"""Magnitude that can be compared between layers."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filters import filter_scores, weights_of


class LAMP(Criterion):
    """Layer-adaptive magnitude: a squared weight over the sum of those of its layer that are not smaller.

    With the weights of a layer in ascending order, weight i scores `w_i^2 / sum_{j >= i} w_j^2`. The largest
    weight of every layer scores 1, so that a global ranking leaves every layer one as long as there is
    anything else to remove. Equal weights are told apart by their index: the first one stays longer.
    Weights that are zero score 0.

    Units are scored in the same way: the squared weight becomes the squared L2 norm of all filters that put
    the unit out, the layer its group.
    """

    name: ClassVar[str] = "lamp"
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    source: ClassVar[str] = "Lee et al. 2021, arXiv:2010.07611"
    elementwise: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Share of the squared norm that is left when the unit's turn comes, in 0..1."""
        squares = filter_scores(context, lambda rows: rows.square().sum(1))
        return {name: _share_of_rest(values) for name, values in squares.items()}

    def elements(self, context: Context) -> dict[str, Tensor]:
        """The same for single weights."""
        return {name: _share_of_rest(weight.square()) for name, weight in weights_of(context).items()}


def _share_of_rest(squares: Tensor) -> Tensor:
    """Every value over the sum of all values behind it in ascending order, itself included."""
    falling, order = squares.flatten().sort(descending=True, stable=True)
    # Equal values in a stable descending order: the first index comes first and has the smaller sum below it.
    shares = torch.where(falling > 0, falling / falling.cumsum(0).clamp_min(1e-300), 0)
    return torch.empty_like(shares).scatter_(0, order, shares).reshape(squares.shape)
