"""Peak activation memory of a candidate, from the exported graph by liveness."""

from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from autoprune.budget.cost import Numbers, Vector
from autoprune.budget.shapes import Shapes
from autoprune.errors import ModelError
from autoprune.graph.call import values_in
from autoprune.graph.costs import Extents
from autoprune.graph.rewrite import Traced
from autoprune.graph.tracer import Dim
from autoprune.graph.types import PruneGraph


class MemoryCost:
    """Most bytes of activations that are alive at once in one forward pass in eval mode, at the traced batch.

    What is counted: every tensor that an op of the exported graph makes, from that op (its operands are
    still alive then) to the last op that reads it or a view of it, outputs of the network to the end. What is
    not: the network's inputs, parameters and buffers, scratch memory inside a kernel, what an allocator
    rounds up or keeps, and activations that a Python frame of the eager model holds longer than they are
    needed. It is the least for a runtime that runs the ops in this order and frees at once.

    No tensor's size falls when a width grows, and lifetimes do not depend on widths, so that the peak never
    falls either.

    Args:
        traced: From `autoprune.graph.trace_program`, in which all groups are as traced.
        graph: Says which groups have a place in a vector of widths; None takes all prunable ones.

    Raises:
        ModelError: The exported graph contains regions that are run by a wrapper.
    """

    name, unit = "memory", "bytes"

    def __init__(self, traced: Traced, graph: PruneGraph | None = None) -> None:
        graph = traced.graph if graph is None else graph
        names = {root: name for name, roots in traced.units.items() for root in roots}
        extents = Extents(traced.tracer, names)
        program = traced.tracer.exported.program
        lives = _lifetimes(list(program.graph_module.graph.nodes))
        shapes, sizes = [], []
        for node, place, _, _ in lives:
            value = list(values_in(traced.values[node]))[place]
            shapes.append([extents.of(Dim(value, d)) for d in range(value.ndim)])
            sizes.append(value.dtype.itemsize)
        self._shapes, self._bytes = Shapes(graph, shapes), np.array(sizes, np.int64)
        self._alive = _moments([(start, end) for _, _, start, end in lives])
        self._n = len(graph.prunable)

    def __call__(self, widths: Vector) -> Numbers:
        """Bytes of every candidate, int64 of shape (...) for `widths` of shape (..., n)."""
        widths = np.asarray(widths)
        rows = widths.reshape(prod(widths.shape[:-1]), self._n)
        alive = (self._shapes.elements(rows) * self._bytes) @ self._alive.T
        return np.asarray(alive.max(-1, initial=0)).reshape(widths.shape[:-1])


def _lifetimes(nodes: list[fx.Node]) -> list[tuple[fx.Node, int, int, int]]:
    """(node, which of its tensors, first and last moment) of every storage that an op allocates.

    Export runs the ops on tensors without data, which share a storage exactly where the real ones do.
    """
    made: dict[int, tuple[fx.Node, int, int]] = {}
    last: dict[int, int] = {}
    given = {s for node in nodes if node.op in ("placeholder", "get_attr") for s in _storages(node)}
    for time, node in enumerate(nodes):
        if node.op == "call_function" and isinstance(node.target, torch._ops.HigherOrderOperator):
            raise ModelError(
                f"the memory cannot be counted: the exported graph has a region that '{node.target}' runs; "
                "take the switch of modes (no_grad, autocast) out of the forward, or drop the limit on memory"
            )
        for operand in node.all_input_nodes:
            last.update(dict.fromkeys(_storages(operand), time))
        if node.op == "call_function":
            for place, storage in enumerate(_storages(node)):
                if storage not in given:
                    made.setdefault(storage, (node, place, time))
                    last[storage] = time
    return [(*at, last[storage]) for storage, at in made.items()]


def _storages(node: fx.Node) -> list[int]:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return [int(leaf.untyped_storage()._cdata) for leaf in leaves if isinstance(leaf, Tensor)]


def _moments(lives: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Which storages are alive at every moment that can be the peak, shape (moments, storages).

    Only a moment at which something is allocated can be the peak.
    """
    starts = np.array([start for start, _ in lives], np.int64)
    ends = np.array([end for _, end in lives], np.int64)
    times = np.unique(starts)[:, None]
    return ((starts <= times) & (times <= ends)).astype(np.int64)
