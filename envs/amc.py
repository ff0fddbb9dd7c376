"""The eleven features of AMC."""

from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box

from autoprune.envs.neighbors import length_of, neighbors, side_of
from autoprune.envs.observation import Floats, State
from autoprune.graph.types import Layer, PruneGraph
from autoprune.task import Task

NAMES = ("t", "n", "c", "h", "w", "stride", "k", "flops", "reduced", "rest", "previous")


class AMCObservation:
    """The state of AMC: (t, n, c, h, w, stride, k, FLOPs[t], reduced, rest, a_{t-1}).

    He et al. 2018, arXiv:1802.03494, equation 1.

    The layer of a group is the first that reads it: AMC's action prunes the input channels of layer t, whose
    kernel has the shape n x c x k x k and whose input has the size c x h x w. The first eight are scaled to
    [0, 1] by their smallest and largest value within the network; `reduced` (FLOPs removed so far) and
    `rest` (FLOPs of the layers after t) are shares of the dense FLOPs, and a_{t-1} is the last keep ratio
    (1 at the start). Only the number of positions is known of an input, so h and w are its square root.
    """

    name: ClassVar[str] = "amc"
    version: ClassVar[int] = 1

    def bind(self, task: Task) -> "BoundAMC":
        """Precompute for one task."""
        return BoundAMC(task)


class BoundAMC:
    """AMC's features for one task; see `AMCObservation`.

    Attributes:
        names: Names of the features.
        space: Box(0, 1).
    """

    names = NAMES

    def __init__(self, task: Task) -> None:
        self.space = Box(0.0, 1.0, (len(NAMES),), np.float32)
        self._task = task
        self._macs = task.budget.known["macs"]
        self._dense = float(task.budget.dense["macs"])
        layers = [pair.consumer or pair.producer for pair in neighbors(task.graph)]
        macs = _macs(task.graph)
        static = _scaled(np.array([_row(t, layer, task.graph, macs) for t, layer in enumerate(layers)]))
        rest = np.array([_rest(layer, macs) for layer in layers]) / self._dense
        self._static = np.column_stack([static, np.zeros(len(static)), rest, np.zeros(len(static))]).astype(
            np.float32
        )

    def __call__(self, state: State) -> Floats:
        """Observations of shape (b, 11)."""
        at = min(state.position, len(self._static) - 1)
        result = np.repeat(self._static[None, at], len(state.widths), axis=0)
        result[:, 8] = 1 - self._macs(state.widths) / self._dense
        if state.position == 0:
            result[:, 10] = 1.0
        else:
            result[:, 10] = state.widths[:, state.position - 1] / self._task.sizes[state.position - 1]
        return result.clip(0.0, 1.0)


def _macs(graph: PruneGraph) -> dict[str, int]:
    """Dense MACs of every layer by its name, in network order."""
    dense = graph.widths()
    macs = {layer.name: 0 for layer in graph.layers}
    for term in graph.mac_terms:
        if term.owner in macs:
            macs[term.owner] += term(dense)
    return macs


def _row(t: int, layer: Layer | None, graph: PruneGraph, macs: dict[str, int]) -> list[float]:
    if layer is None:
        return [t, 0, 0, 0, 0, 0, 0, 0]
    dense = graph.widths()
    stride = length_of(layer.stride)
    side = side_of(layer) * stride
    sizes = [layer.outputs(dense), layer.inputs(dense), side, side, stride, length_of(layer.kernel_size)]
    return [t, *sizes, macs[layer.name]]


def _rest(layer: Layer | None, macs: dict[str, int]) -> int:
    if layer is None:
        return 0
    names = list(macs)
    return sum(macs[name] for name in names[names.index(layer.name) + 1 :])


def _scaled(
    table: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    low, span = table.min(0), np.ptp(table, axis=0)
    return np.where(span > 0, (table - low) / np.where(span > 0, span, 1.0), 0.0)
