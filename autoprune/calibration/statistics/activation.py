"""The mean activation."""

from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.units import UnitStatistic


class MeanActivation(UnitStatistic):
    """Mean absolute activation of every unit; behind a ReLU that is the mean activation."""

    name: ClassVar[str] = "activation"

    def places(self, values: Tensor, gradients: Tensor | None) -> Tensor:
        """The absolute value."""
        return values.abs()
