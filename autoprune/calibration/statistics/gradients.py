"""Statistics of the gradients of the parameters."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.statistic import Statistic, Subject


class GradientStatistic(Statistic):
    """A mean over images of something made of the gradient of every parameter.

    Attributes:
        per_image: Whether it needs every image's own gradient. That costs about 1.3 times a forward and
            backward pass over the batch where `torch.func.vmap` can run the network (measured on a
            ResNet-56 on a CPU), else a forward and backward pass per image (2 times there, far more on an
            accelerator), and the gradients of up to 32 images are in memory at a time.
    """

    gradients: ClassVar[bool] = True
    labels: ClassVar[bool] = True
    per_image: ClassVar[bool] = True

    def start(self, subject: Subject) -> None:
        """See `Statistic.start`."""
        self._totals: dict[str, Tensor] = {}
        self._images = 0

    @abstractmethod
    def of(self, gradients: Tensor) -> Tensor:
        """The quantity, elementwise, of gradients of shape (images, *parameter)."""

    def add(self, gradients: Mapping[str, Tensor], images: int) -> None:
        """Take in gradients.

        Args:
            gradients: By name of the parameter; shape (images, *parameter), or with `per_image` off
                (1, *parameter): the sum over images.
            images: How many images they are of.
        """
        for name, gradient in gradients.items():
            total = self.of(gradient).sum(0).double()
            self._totals[name] = self._totals[name].add_(total) if name in self._totals else total
        self._images += images

    def result(self) -> dict[str, Tensor]:
        """The means over images, of each parameter's shape."""
        return {name: (total / self._images).cpu() for name, total in self._totals.items()}
