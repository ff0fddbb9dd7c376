"""Whether another unit's feature map says the same."""

from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.calibration.moments import Moment
from autoprune.calibration.reconstruct import columns_of
from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.filter_correlation import PART
from autoprune.criteria.gathered import calibration_of, norms_without
from autoprune.graph import Axis, Layer

FLAT = 1e-6
"""A map whose variance is below this share of its mean square is constant in single precision."""


class FeatureCorrelation(Criterion):
    """1 minus the largest absolute correlation of a unit's feature map with that of another unit.

    The correlation is Pearson's over all images and places, from the second moments of the inputs of the
    layers that read the unit: no map is kept. Padding counts as 0, as the layer reads it. A map that is
    constant scores 0, since a bias does the same. Where several layers read a unit their scores are added up.

    Groups whose readers have no moments get their L2 norm (logged).
    """

    name: ClassVar[str] = "feature_correlation"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    source: ClassVar[str] = "Suau et al. 2018, arXiv:1807.10585"

    def scores(self, context: Context) -> dict[str, Tensor]:
        """1 minus the largest absolute correlation per unit, in 0..1 per layer that reads the unit.

        Raises:
            ArgumentError: There is no calibration.
        """
        layers = {layer.weight: layer for layer in context.graph.layers}
        moments, result = calibration_of(context, self.name).moments, {}
        for group in context.graph.prunable:
            found = [
                _distinctness(moments[axis.parameter], layers[axis.parameter], axis)
                for axis in group.axes
                if axis.dim == 1 and axis.parameter in moments
            ]
            if found:
                result[group.name] = torch.stack(found).sum(0)
        return {**norms_without(context, self.name, result), **result}


def _distinctness(moment: Moment, layer: Layer, axis: Axis) -> Tensor:
    """Shape (size,); the columns of a unit are its channels at every place of the kernel, in one order."""
    size = len(axis.indices)
    columns = torch.as_tensor(columns_of(axis.indices.ravel(), prod(layer.kernel_size))).view(size, -1)
    covariance, squares = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for second, mean in zip(moment.second.cpu(), moment.mean.cpu(), strict=True):
        for at in columns.unbind(1):
            covariance += second[at][:, at] - mean[at, None] * mean[at]
            squares += second[at, at]
    variances = covariance.diagonal()
    flat = variances <= FLAT * squares
    scale = torch.where(flat, 0, variances.clamp_min(1e-300).rsqrt())
    largest = []
    for start in range(0, size, PART):
        part = slice(start, start + PART)
        correlations = (covariance[part] * scale[part, None] * scale).abs()
        correlations.diagonal(start).zero_()
        largest.append(correlations.amax(1))
    return (1 - torch.cat(largest).clamp_max(1)).masked_fill(flat, 0)
