"""How much of what its readers compute is lost when a group gets narrower."""

from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.calibration.calibration import Calibration
from autoprune.calibration.leastsquares import factorize
from autoprune.calibration.reconstruct import RIDGE, by_group, columns_of, moment_of
from autoprune.errors import ArgumentError
from autoprune.graph import Axis, Layer, PruneGraph
from autoprune.graph.types import Indices

Curve = NDArray[np.float64]


def sensitivity_curves(
    graph: PruneGraph,
    model: nn.Module,
    calibration: Calibration,
    order: Mapping[str, Indices],
    *,
    ridge: float = RIDGE,
    normalized: bool = True,
) -> dict[str, Curve]:
    """Error that least squares leaves, as a function of the width, without any evaluation.

    For a consumer with weight W (d, outputs) and input moment G (plus lam I), and the first w units of
    `order` staying (columns S), the relative error is
    `e(w) = 1 - tr((G_S,: W)^T (G_SS)^-1 (G_S,: W)) / tr(W^T G W)`. With `G = L L^T` in the given order, the
    part that column i explains is the square of row i of `L^T W`, so that one Cholesky factorization yields
    all widths. Errors of several consumers are added.

    Args:
        graph: The graph.
        model: The dense network.
        calibration: Moments.
        order: Unit indices of every prunable group, most important first.
        ridge: lam relative to the mean diagonal element of G.
        normalized: Measure the error where the next layer sees it: per output channel and in units of the
            batch norm behind the consumer, `e(w)` weighted with `gamma^2 / variance` and divided by the
            number of outputs, so that a branch that is scaled down counts for less. Not relative: it may
            exceed 1. Consumers without a batch norm keep their relative error.

    Returns:
        By group name, shape (size + 1,): falling from the error of an empty group to 0. A consumer without
        moments counts with the share of its squared weights that is lost; a group that no layer reads, with
        the share of its units.

    Raises:
        ArgumentError: `order` misses a prunable group.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    layers = {layer.weight: layer for layer in graph.layers}
    result: dict[str, Curve] = {}
    for group in graph.prunable:
        if group.name not in order:
            raise ArgumentError(f"order must rank every prunable group, '{group.name}' is missing")
        units = np.asarray(order[group.name])
        found = []
        for axis in group.axes:
            if axis.dim == 1 and axis.parameter in calibration.moments:
                gains = _gains(calibration, tensors, axis.parameter) if normalized else None
                found.append(_curve(layers[axis.parameter], tensors, axis, calibration, units, ridge, gains))
            elif axis.dim == 1 and axis.parameter in calibration.skipped:
                found.append(_magnitude_curve(tensors[axis.parameter], axis, units))
        result[group.name] = np.sum(found, 0) if found else 1 - np.arange(group.size + 1) / group.size
    return result


def _curve(
    layer: Layer,
    tensors: Mapping[str, Tensor],
    axis: Axis,
    calibration: Calibration,
    units: Indices,
    ridge: float,
    gains: Tensor | None,
) -> Curve:
    moment = moment_of(layer, calibration)
    weight = by_group(tensors[layer.weight], len(moment))
    kernel = prod(layer.kernel_size)
    own = columns_of(axis.indices[units].ravel(), kernel)
    other = np.setdiff1d(np.arange(moment.shape[-1]), own)
    columns = torch.as_tensor(np.concatenate([other, own]), device=moment.device)
    factor = factorize(moment[:, columns][:, :, columns], ridge)
    if gains is not None:
        weight = weight * gains.sqrt().view(len(moment), 1, -1)
    explained = (factor.mT @ weight[:, columns]).square().sum((0, 2)).cpu().numpy()
    total = len(gains) if gains is not None else max(float(explained.sum()), 1e-300)
    by_unit = explained[len(other) :].reshape(len(units), -1).sum(1)
    return np.concatenate([by_unit[::-1].cumsum()[::-1], [0.0]]) / total


def _gains(calibration: Calibration, tensors: Mapping[str, Tensor], weight: str) -> Tensor | None:
    """Square of what the batch norm behind a layer multiplies each output with."""
    norm = calibration.norms.get(weight)
    return None if norm is None else norm.affine(tensors)[0].square()


def _magnitude_curve(weight: Tensor, axis: Axis, units: Indices) -> Curve:
    energy = weight.detach().double().square().movedim(1, 0).flatten(1).sum(1).cpu().numpy()
    by_unit = energy[axis.indices[units]].sum(1)
    return np.concatenate([by_unit[::-1].cumsum()[::-1], [0.0]]) / max(float(energy.sum()), 1e-300)
