"""Scores made comparable between layers."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.criterion import Context
from autoprune.criteria.wrapper import Wrapper


class LayerNormalised(Wrapper):
    """Normalises the scores of every group by themselves; the order within a group stays.

    Scores of single weights are normalised by weight tensor. A group whose scores are all zero stays so.
    """

    @abstractmethod
    def normalised(self, scores: Tensor) -> Tensor:
        """The scores of one group, or of one weight tensor, of type float64."""

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Normalised scores per unit."""
        return self._all(self.criterion.scores(context))

    def elements(self, context: Context) -> dict[str, Tensor]:
        """Normalised scores per weight."""
        return self._all(self.criterion.elements(context))

    def _all(self, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.normalised(values.double()) for name, values in scores.items()}


class LayerL2(LayerNormalised):
    """Scores over their Euclidean norm."""

    name: ClassVar[str] = "layer_l2"
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"

    def normalised(self, scores: Tensor) -> Tensor:
        """Over the Euclidean norm."""
        return _over(scores, scores.norm())


class LayerMean(LayerNormalised):
    """Scores over the mean of their absolute values."""

    name: ClassVar[str] = "layer_mean"

    def normalised(self, scores: Tensor) -> Tensor:
        """Over the mean absolute score."""
        return _over(scores, scores.abs().mean())


class LayerMax(LayerNormalised):
    """Scores over the largest of their absolute values."""

    name: ClassVar[str] = "layer_max"

    def normalised(self, scores: Tensor) -> Tensor:
        """Over the largest absolute score."""
        return _over(scores, scores.abs().max())


class LayerRank(LayerNormalised):
    """Share of scores that are not higher, in (0, 1]; equal scores share the mean of their places."""

    name: ClassVar[str] = "layer_rank"

    def normalised(self, scores: Tensor) -> Tensor:
        """Places from the lowest, 1 to n, over n."""
        return mean_places(scores) / scores.numel()


def mean_places(scores: Tensor) -> Tensor:
    """Places of the scores from the lowest, 1 to n; equal scores share the mean of their places."""
    _, which, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    places: Tensor = counts.cumsum(0) - (counts.double() - 1) / 2
    return places[which]


def _over(scores: Tensor, size: Tensor) -> Tensor:
    return scores / torch.where(size > 0, size, 1)
