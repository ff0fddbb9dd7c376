"""Second order with the empirical Fisher."""

from typing import ClassVar

from autoprune.criteria.second_order import SecondOrder


class Fisher(SecondOrder):
    """Second-order Taylor: F w^2 / 2 summed over a unit, F the mean squared gradient of an image's loss.

    The diagonal of the empirical Fisher stands for that of the Hessian; it is never negative.
    """

    name: ClassVar[str] = "fisher"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "data"})
    source: ClassVar[str] = "Theis et al. 2018, arXiv:1801.05787"
    statistics: frozenset[str] = frozenset({"gradient_square"})
    elementwise: ClassVar[bool] = True
