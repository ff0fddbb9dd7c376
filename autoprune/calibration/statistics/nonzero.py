"""The share of activations that are not zero."""

from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.units import UnitStatistic


class NonZero(UnitStatistic):
    """Share of a unit's activations that are not exactly 0, in 0..1."""

    name: ClassVar[str] = "nonzero"

    def places(self, values: Tensor, gradients: Tensor | None) -> Tensor:
        """1 where the activation is not 0, else 0."""
        return (values != 0).to(values.dtype)
