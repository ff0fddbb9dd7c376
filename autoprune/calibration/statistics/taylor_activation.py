"""Activation times gradient."""

from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.units import UnitStatistic


class ActivationTaylor(UnitStatistic):
    """Mean over images of |mean over the map of activation x gradient| (Molchanov et al. 2017).

    The gradient is that of the image's own loss. Where several tensors hold a unit their values add up.
    """

    name: ClassVar[str] = "taylor_activation"
    gradients: ClassVar[bool] = True
    labels: ClassVar[bool] = True
    summed: ClassVar[bool] = True

    def places(self, values: Tensor, gradients: Tensor | None) -> Tensor:
        """The product."""
        assert gradients is not None
        return values * gradients

    def of_image(self, means: Tensor) -> Tensor:
        """The absolute value."""
        return means.abs()
