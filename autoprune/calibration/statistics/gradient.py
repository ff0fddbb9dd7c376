"""The gradient."""

from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.gradients import GradientStatistic


class MeanGradient(GradientStatistic):
    """Gradient of the mean loss over all images, per parameter; one backward pass a batch."""

    name: ClassVar[str] = "gradient"
    per_image: ClassVar[bool] = False

    def of(self, gradients: Tensor) -> Tensor:
        """The gradient itself."""
        return gradients
