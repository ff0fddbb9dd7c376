"""How much a unit's activation says about the label."""

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.calibration.statistics.statistic import Subject
from autoprune.calibration.statistics.units import UnitStatistic
from autoprune.data import Batch
from autoprune.errors import ArgumentError, DataError


class LabelInformation(UnitStatistic):
    """Mutual information between a unit's mean activation in an image and the image's label, in nats.

    The means are cut into bins that hold equally many images (equal means share a bin), and the
    information is that of the table of counts. It is biased upwards by about
    (bins - 1) (classes - 1) / (2 images), alike for all units that are not constant.

    One number per image and unit is kept until the end, in float32: for less than bins x classes images
    that is less than the counts, whose edges would also depend on the order of the batches.

    Args:
        bins: Number of bins.

    Raises:
        ArgumentError: Fewer than 2 bins.
    """

    name: ClassVar[str] = "mutual_information"
    labels: ClassVar[bool] = True

    def __init__(self, bins: int = 8) -> None:
        if bins < 2:
            raise ArgumentError(f"bins must be at least 2, got {bins}")
        self.bins = bins

    def start(self, subject: Subject) -> None:
        """See `Statistic.start`."""
        self._means: dict[str, list[Tensor]] = {}
        self._labels: list[Tensor] = []

    def places(self, values: Tensor, gradients: Tensor | None) -> Tensor:
        """The activation."""
        return values

    def batch(self, batch: Batch) -> None:
        """Keep the labels.

        Raises:
            DataError: The labels are not class indices of shape (N,).
        """
        assert batch.labels is not None
        if batch.labels.ndim != 1 or batch.labels.is_floating_point():
            got = f"{batch.labels.dtype} of {tuple(batch.labels.shape)}"
            raise DataError(f"labels must be class indices of shape (N,) for '{self.name}', got {got}")
        self._labels.append(batch.labels.cpu())

    def add(self, group: str, values: Tensor) -> None:
        """Keep the means."""
        self._means.setdefault(group, []).append(values.float().cpu())

    def result(self) -> dict[str, Tensor]:
        """Nats per unit, shape (size,)."""
        if not self._labels:
            return {}
        labels = torch.unique(torch.cat(self._labels), return_inverse=True)[1]
        return {
            name: information(binned(torch.cat(means), self.bins), labels, self.bins)
            for name, means in self._means.items()
        }


def binned(values: Tensor, bins: int) -> Tensor:
    """The bin of every value, shape (images, size), from values of that shape; equally full but for ties."""
    ordered = values.sort(0).values
    result = torch.zeros(values.shape, dtype=torch.int64)
    for k in range(1, bins):
        result += values >= ordered[len(values) * k // bins]
    return result


def information(codes: Tensor, labels: Tensor, bins: int) -> Tensor:
    """Nats, shape (size,), that codes (images, size) below `bins` and labels (images,) have in common."""
    images, size = codes.shape
    classes = int(labels.max()) + 1
    cells = (torch.arange(size) * bins + codes) * classes + labels[:, None]
    counts = torch.bincount(cells.flatten(), minlength=size * bins * classes).view(size, bins, classes)
    joint = counts.double() / images
    independent = joint.sum(1, keepdim=True) * joint.sum(2, keepdim=True)
    return (torch.xlogy(joint, joint) - torch.xlogy(joint, independent)).sum((1, 2)).clamp_min(0)
