"""The absolute gradient."""

from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.gradients import GradientStatistic


class AbsoluteGradient(GradientStatistic):
    """Mean over images of the absolute gradient of the image's loss, per parameter."""

    name: ClassVar[str] = "gradient_abs"

    def of(self, gradients: Tensor) -> Tensor:
        """The absolute value."""
        return gradients.abs()
