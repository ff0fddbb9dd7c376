"""Statistics of the activations of every group's units."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from autoprune.calibration.statistics.statistic import Statistic, Subject


class UnitStatistic(Statistic):
    """A mean over images of something that is first averaged over a unit's map.

    A unit's activation is what the layers that read its group get as input (see `readers`); where one
    tensor is read by several layers it counts once. Several such tensors (a residual stream before each of
    its blocks) are averaged.

    With `gradients`, the gradient of every image's loss with respect to the activation is there too.

    Attributes:
        summed: Whether several tensors are summed instead.
    """

    summed: ClassVar[bool] = False

    def start(self, subject: Subject) -> None:
        """See `Statistic.start`."""
        self._totals: dict[str, Tensor] = {}
        self._images: dict[str, int] = {}

    @abstractmethod
    def places(self, values: Tensor, gradients: Tensor | None) -> Tensor:
        """The quantity at every place of an activation, of the same shape; its mean over the map is taken."""

    def of_image(self, means: Tensor) -> Tensor:
        """What becomes of the means over the maps, shape (images, size), before they are averaged."""
        return means

    def add(self, group: str, values: Tensor) -> None:
        """Take in a batch: values of shape (images, size), float64."""
        total = values.sum(0)
        self._totals[group] = self._totals[group] + total if group in self._totals else total
        self._images[group] = self._images.get(group, 0) + len(values)

    def result(self) -> dict[str, Tensor]:
        """The means over images, shape (size,); groups whose activations no layer showed are missing."""
        return {name: (total / self._images[name]).cpu() for name, total in self._totals.items()}


def over_map(values: Tensor, dim: int, images: int) -> Tensor:
    """Mean of an activation over its map.

    Args:
        values: The activation; the first dimension holds the images, or several rows of each (windows).
        dim: The dimension of the channels; 0 where there is a single image without a dimension of its own.
        images: Number of images. If the rows are no multiple of it, all rows are averaged.

    Returns:
        Shape (images, channels), float64.
    """
    if dim == 0:
        values, dim = values[None], 1
    rest = [d for d in range(1, values.dim()) if d != dim]
    rows = (values.mean(rest) if rest else values).double()
    if len(rows) % images:
        return rows.mean(0).expand(images, -1)
    return rows.view(images, -1, rows.shape[1]).mean(1) if len(rows) > images else rows


def of_units(rows: Tensor, channels: Tensor) -> Tensor:
    """From channels to units: (images, channels) and the channels (size, k) of units to (images, size)."""
    taken: Tensor = rows[:, channels[:, 0]] if channels.shape[1] == 1 else rows[:, channels].mean(2)
    return taken
