"""Features of a group that no decision changes, scaled alike for every network."""

from math import log2

import numpy as np
from numpy.typing import NDArray

from autoprune.envs.neighbors import Neighbors, length_of, neighbors, side_of
from autoprune.graph.types import Layer
from autoprune.task import Task

KINDS = ("conv", "grouped", "linear", "other")
CURVE = (0.125, 0.25, 0.5, 0.75, 0.875)
"""Keep ratios at which the sensitivity curve is shown."""

COMPARED = (0.25, 0.5, 0.75)
"""Keep ratios at which it is compared with the other groups."""

NAMES = (
    "position",
    "depth",
    *(f"kind_{kind}" for kind in KINDS),
    "size",
    "inputs",
    "outputs",
    "kernel_before",
    "kernel_after",
    "stride",
    "resolution",
    "macs_share",
    "params_share",
    *(f"error_at_{ratio:g}" for ratio in CURVE),
    *(f"relative_error_at_{ratio:g}" for ratio in COMPARED),
)


def static_features(task: Task) -> NDArray[np.float64]:
    """Shape (n, len(NAMES)), in the order of `NAMES`; not clipped."""
    n = len(task.names)
    pairs = neighbors(task.graph)
    largest = max((side_of(layer) for layer in task.graph.layers), default=1.0)
    layers = [_layers(pair, largest, task) for pair in pairs]
    place = [[i / n, log2(n) / 8] for i in range(n)]
    sizes = np.log2(task.sizes)[:, None] / 12
    kinds = np.array(layers)[:, : len(KINDS)]
    rest = np.array(layers)[:, len(KINDS) :]
    shares = np.column_stack([_shares(task, name) for name in ("macs", "params")])
    return np.hstack([place, kinds, sizes, rest, shares, _curves(task)])


def _layers(pair: Neighbors, largest: float, task: Task) -> list[float]:
    dense = task.graph.widths()
    before, after = pair
    main = before or after
    kind = _kind(main)
    return [
        *(float(kind == known) for known in KINDS),
        _log(before.inputs(dense) if before else 1) / 12,
        _log(after.outputs(dense) if after else 1) / 12,
        _log(length_of(before.kernel_size) if before else 1) / 3,
        _log(length_of(after.kernel_size) if after else 1) / 3,
        _log(length_of(main.stride) if main else 1) / 3,
        _log(side_of(main) / largest if main else 1) / 8,
    ]


def _kind(layer: Layer | None) -> str:
    if layer is None or layer.kind not in KINDS:
        return "other"
    return "grouped" if layer.groups.parts or layer.groups.fixed > 1 else layer.kind


def _log(value: float) -> float:
    return log2(max(value, 2**-16))


def _shares(task: Task, cost: str) -> NDArray[np.float64]:
    """How much of the dense cost goes with the group, in doublings of the mean over the groups."""
    rows = np.repeat(task.sizes[None], len(task.names), axis=0)
    np.fill_diagonal(rows, task.min_widths)
    saved = np.maximum(task.budget.dense[cost] - task.budget.known[cost](rows), 0)
    return relative(saved.astype(np.float64)) / 8


def _curves(task: Task) -> NDArray[np.float64]:
    shown = np.column_stack([_errors(task, ratio) for ratio in CURVE])
    compared = np.column_stack([relative(_errors(task, ratio)) for ratio in COMPARED])
    return np.hstack([1 + np.log10(np.maximum(shown, 1e-4)) / 4, compared / 8])


def _errors(task: Task, ratio: float) -> NDArray[np.float64]:
    """Errors at one keep ratio, interpolated between widths, shape (n,)."""
    curves = [np.asarray(task.curves[name], np.float64) for name in task.names]
    return np.array([np.interp(ratio * (len(c) - 1), np.arange(len(c)), c) for c in curves])


def relative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """In doublings of the mean; 0 everywhere if all are 0."""
    mean = values.mean()
    result: NDArray[np.float64] = (
        np.log2(np.maximum(values / mean, 2.0**-16)) if mean > 0 else np.zeros(len(values))
    )
    return result
