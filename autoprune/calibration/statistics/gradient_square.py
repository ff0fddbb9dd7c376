"""The squared gradient."""

from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.gradients import GradientStatistic


class SquaredGradient(GradientStatistic):
    """Mean over images of the squared gradient of the image's loss: the diagonal of the empirical Fisher."""

    name: ClassVar[str] = "gradient_square"

    def of(self, gradients: Tensor) -> Tensor:
        """The square."""
        return gradients.square()
