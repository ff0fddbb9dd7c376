"""Bytes on disk of the weights of a candidate, exactly those of the file that is written."""

import json
from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from autoprune.budget.cost import Numbers, Vector
from autoprune.budget.shapes import Shapes
from autoprune.errors import ModelError
from autoprune.graph.types import Extent, PruneGraph
from autoprune.surgery.tensors import held_tensors

_ALIGNMENT = 8
"""The header of a safetensors file is padded to a multiple of this, its length field included."""


class SizeCost:
    """Bytes of the safetensors file with all parameters and persistent buffers, shared ones once.

    The data are a polynomial of the widths. The header is JSON text that states shapes and offsets, so that
    its length depends on how many digits these have; it is counted as well, to the byte. Neither ever falls
    when a width grows.

    Args:
        graph: A traced network.
        model: The network itself; None takes the one of the graph.

    Raises:
        ModelError: The graph was made by hand and no model is given.
    """

    name, unit = "size", "bytes"

    def __init__(self, graph: PruneGraph, model: nn.Module | None = None) -> None:
        model = model or graph.model
        if model is None:
            raise ModelError("the size in bytes needs the network itself, but the graph was made by hand")
        held = {name: entry.tensor for name, entry in held_tensors(model).items() if entry.persistent}
        order, self._text = _layout(held)
        self._shapes = Shapes(graph, [_extents(graph, name, tuple(held[name].shape)) for name in order])
        self._bytes = np.array([held[name].element_size() for name in order], np.int64)
        self._ranks = np.array(self._shapes.ranks)
        self._n = len(graph.prunable)

    def __call__(self, widths: Vector) -> Numbers:
        """Bytes of every candidate, int64 of shape (...) for `widths` of shape (..., n)."""
        widths = np.asarray(widths)
        rows = widths.reshape(prod(widths.shape[:-1]), self._n)
        dims = self._shapes.dims(rows)
        data = dims.prod(-1) * self._bytes
        ends = np.cumsum(data, -1)
        inside = np.arange(dims.shape[-1]) < self._ranks[:, None]
        digits = (_digits(dims) * inside).sum((-1, -2)) + _digits(ends).sum(-1) + _digits(ends - data).sum(-1)
        header = -(-(self._text + digits) // _ALIGNMENT) * _ALIGNMENT
        return np.asarray(_ALIGNMENT + header + data.sum(-1)).reshape(widths.shape[:-1])


def _extents(graph: PruneGraph, name: str, shape: tuple[int, ...]) -> list[Extent]:
    """The dimensions of a tensor as functions of the widths."""
    fixed, parts = list(shape), [dict[str, int]() for _ in shape]
    for group in graph.prunable:
        for axis in group.axes:
            if axis.parameter == name:
                k = axis.indices.shape[1]
                fixed[axis.dim] -= k * group.size
                parts[axis.dim][group.name] = parts[axis.dim].get(group.name, 0) + k
    return [Extent(f, tuple(p.items())) for f, p in zip(fixed, parts, strict=True)]


def _layout(tensors: Mapping[str, Tensor]) -> tuple[list[str], int]:
    """The order of the tensors in the file, and the length of its header without the digits of any number.

    Both are read off the header of a file of empty tensors of the same ranks and types.
    """
    empty = {name: torch.empty([0] * max(t.ndim, 1), dtype=t.dtype) for name, t in tensors.items()}
    file = save(empty)
    text = file[_ALIGNMENT : _ALIGNMENT + int.from_bytes(file[:_ALIGNMENT], "little")].rstrip()
    header = json.loads(text)
    zeros = sum(len(entry["shape"]) + len(entry["data_offsets"]) for entry in header.values())
    return list(header), len(text) - zeros


def _digits(values: Vector) -> Vector:
    """Number of decimal digits of integers from 0 on."""
    return np.asarray(np.searchsorted(10 ** np.arange(1, 19), values, "right") + 1)
