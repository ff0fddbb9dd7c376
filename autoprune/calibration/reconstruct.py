"""Weights that make up for removed inputs, in closed form."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.calibration.calibration import Calibration
from autoprune.calibration.leastsquares import solve
from autoprune.graph import Layer, PruneGraph
from autoprune.graph.types import Indices

RIDGE = 1e-4
"""Ridge, relative to the mean of the moment's diagonal."""


class Fit(NamedTuple):
    """Least-squares weights over the inputs that stay.

    Attributes:
        weight: Shape (outputs, inputs that stay / groups, *kernel), float64, all outputs.
        offset: Shape (outputs,): the constant that the fit leaves to a bias or to a batch normalization.
    """

    weight: Tensor
    offset: Tensor


class Reconstruction:
    """Re-fits every layer whose inputs lose channels to its own dense output.

    With G the second moment of the layer's input patches and S the columns that stay, the weights that
    reproduce the dense output best are `(G_SS + lam I)^-1 G_S,: W`. A constant is fitted with them wherever
    a bias or a batch normalization right behind the layer can take it; G is then the covariance.

    Args:
        graph: The graph.
        model: The dense network; its weights are read at every call.
        calibration: Moments, from `calibrate(graph, model, ...)`.
        ridge: lam relative to the mean diagonal element of G.
        cache_bytes: Fits are kept up to so many bytes, the oldest go first.
    """

    def __init__(
        self,
        graph: PruneGraph,
        model: nn.Module,
        calibration: Calibration,
        *,
        ridge: float = RIDGE,
        cache_bytes: int = 256 << 20,
    ) -> None:
        self._graph, self._calibration, self._ridge = graph, calibration, ridge
        self._tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._layers = [x for x in graph.layers if x.weight in calibration.moments]
        self._cache: OrderedDict[tuple[str, bytes], Fit] = OrderedDict()
        self._room = cache_bytes

    def __call__(self, keep: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Re-fitted tensors for a candidate.

        Args:
            keep: Unit indices that stay, by group; missing groups are dense.

        Returns:
            Weights, biases and running means by name, already of the candidate's shape, in the model's
            dtype and on its device; only those that change.
        """
        slices = self._graph.slices(keep)
        result: dict[str, Tensor] = {}
        with torch.no_grad():
            for layer in self._layers:
                own = slices.get(layer.weight, {})
                if 1 in own:
                    self._put(result, layer, self._fit(layer, own[1]), slices)
        return result

    def _put(
        self, result: dict[str, Tensor], layer: Layer, fit: Fit, slices: Mapping[str, Mapping[int, Indices]]
    ) -> None:
        targets = {layer.weight: fit.weight}
        norm = self._calibration.norms.get(layer.weight)
        if layer.bias is not None:
            targets[layer.bias] = self._tensors[layer.bias] + fit.offset
        elif norm is not None:
            targets[norm.mean] = self._tensors[norm.mean] - fit.offset
        for name, value in targets.items():
            stay = slices.get(name, {}).get(0)
            rows = value if stay is None else value[torch.as_tensor(stay, device=value.device)]
            dense = self._tensors[name]
            result[name] = rows.to(dense.dtype).contiguous()

    def _fit(self, layer: Layer, stay: Indices) -> Fit:
        key = layer.weight, stay.tobytes()
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        fit = self._solve(layer, stay)
        self._cache[key] = fit
        self._room -= _size(fit)
        while self._room < 0 and len(self._cache) > 1:
            self._room += _size(self._cache.popitem(last=False)[1])
        return fit

    def _solve(self, layer: Layer, stay: Indices) -> Fit:
        moment = self._calibration.moments[layer.weight]
        constant = has_constant(layer, self._calibration)
        second = moment_of(layer, self._calibration)
        weight = by_group(self._tensors[layer.weight], len(second))
        columns = torch.as_tensor(columns_of(stay, prod(layer.kernel_size)), device=second.device)
        left = second[:, columns][:, :, columns]
        old = weight[:, columns]
        solution = old + solve(left, second[:, columns] @ weight - left @ old, self._ridge)
        offset = (moment.mean[:, None] @ weight - moment.mean[:, None, columns] @ solution)[:, 0]
        shape = (-1, len(stay), *layer.kernel_size)
        fitted = solution.mT.reshape(shape) if layer.kernel_size else solution.mT.flatten(0, 1)
        return Fit(fitted, offset.flatten() if constant else torch.zeros_like(offset).flatten())


def reconstruct(
    graph: PruneGraph, model: nn.Module, calibration: Calibration, keep: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """`Reconstruction` for a single candidate."""
    return Reconstruction(graph, model, calibration)(keep)


def moment_of(layer: Layer, calibration: Calibration) -> Tensor:
    """The matrix G of the layer's least squares, shape (groups, d, d): centered where a constant is free."""
    moment = calibration.moments[layer.weight]
    return moment.centered if has_constant(layer, calibration) else moment.second


def has_constant(layer: Layer, calibration: Calibration) -> bool:
    """Whether a fit of the layer may leave a constant: to its bias or to a batch normalization behind it."""
    return layer.bias is not None or layer.weight in calibration.norms


def columns_of(channels: Indices, kernel: int) -> Indices:
    """Columns of `weight.flatten(1)` that belong to input channels."""
    return (channels[:, None] * kernel + np.arange(kernel)).ravel()


def by_group(weight: Tensor, groups: int) -> Tensor:
    """A weight as (groups, d, outputs / groups), float64."""
    return weight.detach().double().reshape(groups, -1, weight[0].numel()).mT


def _size(fit: Fit) -> int:
    return fit.weight.nbytes + fit.offset.nbytes
