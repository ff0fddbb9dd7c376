"""The latency of candidates, summed over layers from a table."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.budget.cost import Numbers, Vector
from autoprune.errors import ArgumentError
from autoprune.latency.grid import curve, lookup, monotone
from autoprune.latency.segments import Segment
from autoprune.latency.table import LatencyTable


class _Curve(NamedTuple):
    """A layer with many variables: its time by its work."""

    segment: Segment
    works: NDArray[np.float64]
    times: NDArray[np.float64]


class LatencyCost:
    """Milliseconds of one forward pass of the example inputs: the sum of its layers, put right by anchors.

    Layers with at most two variables are looked up in a table of all their values, interpolated once, so that
    a candidate costs one matrix product and one gather. The sum never falls when a width grows.

    Args:
        segments: The layers of the network.
        table: Their times.
        factor: What the result is multiplied by, above 0.
        anchors: (sum of layers, measured milliseconds) of whole networks: a piecewise line through them turns
            sums into times. They hold what layers alone lack: calls of modules, cold caches, memory orders.
            None takes the sum itself.
        step: In whose multiples of channels whole networks are fast, as far as that was measured.

    Raises:
        ArgumentError: The table lacks a layer.
    """

    name, unit = "latency", "ms"

    def __init__(
        self,
        segments: Sequence[Segment],
        table: LatencyTable,
        *,
        factor: float = 1.0,
        anchors: Sequence[tuple[float, float]] = (),
        step: int = 1,
    ) -> None:
        missing = table.missing(segments)
        if missing:
            raise ArgumentError(
                "latency_table must hold every layer of the network, but "
                f"{missing[0].template.title} is missing"
            )
        self.factor, self.anchors, self.step = factor, tuple(anchors), step
        self._n = len(segments[0].matrix)
        self._curves: list[_Curve] = []
        tables: list[NDArray[np.float64]] = []
        columns, starts = [], []
        filled = 0
        for segment in segments:
            times = table.times(segment.template)
            if segment.template.variables > 2:
                self._curves.append(_Curve(segment, *curve(segment.template, times)))
                continue
            values = lookup(times, segment.sizes)
            strides = np.array([prod(values.shape[i + 1 :]) for i in range(values.ndim)], np.int64)
            columns.append(segment.matrix @ strides)
            starts.append(filled)
            tables.append(values.ravel())
            filled += values.size
        self._flat = np.concatenate(tables) if tables else np.zeros(0)
        self._columns = np.stack(columns, -1) if columns else np.zeros((self._n, 0), np.int64)
        self._starts = np.array(starts, np.int64)

    def __call__(self, widths: Vector) -> Numbers:
        """Milliseconds of every candidate, shape (...) for `widths` of shape (..., n)."""
        widths = np.asarray(widths, np.int64)
        raw = self.raw(widths)
        if not self.anchors:
            return np.asarray(self.factor * raw)
        sums, times = _line(self.anchors)
        return np.asarray(self.factor * np.interp(raw, sums, times))

    def raw(self, widths: Vector) -> Numbers:
        """The sum of layers as measured, before factor and anchors."""
        rows = widths.reshape(prod(widths.shape[:-1]), self._n).astype(np.int64)
        total = self._flat[rows @ self._columns + self._starts].sum(-1)
        for segment, works, times in self._curves:
            values = rows @ segment.matrix
            work = [segment.template.work(row) for row in values.tolist()]
            total = total + np.interp(work, works, times)
        return np.asarray(total).reshape(widths.shape[:-1])

    def __repr__(self) -> str:
        return f"LatencyCost(factor={self.factor:.3g}, {len(self.anchors)} anchors)"


def _line(anchors: Sequence[tuple[float, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes that never fall; beyond the outer ones in proportion to the sum."""
    sums, times = np.array(sorted(anchors), np.float64).T
    times = monotone(times)
    return np.r_[0, sums, 10 * sums[-1]], np.r_[0, times, 10 * times[-1]]
