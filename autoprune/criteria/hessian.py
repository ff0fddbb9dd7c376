"""Optimal brain damage."""

from typing import ClassVar

from autoprune.criteria.second_order import SecondOrder


class Hessian(SecondOrder):
    """Sum of h w^2 / 2 over a unit, h the Hessian's diagonal by Hutchinson's estimator (`HessianDiagonal`).

    Where the loss curves downwards along a weight its share is negative.
    """

    name: ClassVar[str] = "hessian"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "data"})
    source: ClassVar[str] = "LeCun, Denker and Solla 1989"
    statistics: frozenset[str] = frozenset({"hessian"})
    elementwise: ClassVar[bool] = True
