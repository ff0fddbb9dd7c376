"""Optimal brain damage."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context
from autoprune.criteria.second_order import SecondOrder


class Hessian(SecondOrder):
    """Sum of |h| w^2 / 2 over a unit, h the Hessian's diagonal by Hutchinson's estimator (`HessianDiagonal`).

    LeCun et al. drop the part of the second derivatives that may be negative, so that every saliency is
    positive. The estimator has that part, and noise; its absolute value is taken instead. With their signs,
    the largest weights of all would go first wherever h came out negative.
    """

    name: ClassVar[str] = "hessian"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "data"})
    source: ClassVar[str] = "LeCun, Denker and Solla 1989"
    statistics: frozenset[str] = frozenset({"hessian"})
    elementwise: ClassVar[bool] = True

    def _saliency(self, context: Context) -> dict[str, Tensor]:
        return {name: saliency.abs() for name, saliency in super()._saliency(context).items()}
