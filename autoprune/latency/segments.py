"""A network as a chain of layers, each with what follows it up to the next one."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from autoprune.errors import ModelError
from autoprune.graph.costs import Extents
from autoprune.graph.registry import op_name
from autoprune.graph.rewrite import Traced, rewrite
from autoprune.graph.tracer import Dim
from autoprune.graph.types import PruneGraph
from autoprune.graph.values import Value
from autoprune.latency.encode import encoded, merged
from autoprune.latency.linear import Linear, basis, marked
from autoprune.latency.template import Op, Operand, Template

HEADS = frozenset(
    f"aten::{name}"
    for name in (
        *(f"conv{n}d" for n in (1, 2, 3)),
        *(f"conv_transpose{n}d" for n in (1, 2, 3)),
        *("convolution", "linear", "addmm", "mm", "bmm", "matmul", "scaled_dot_product_attention"),
    )
)
"""Ops that begin a new layer."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A layer at its place in a network.

    Attributes:
        name: Name of its first node, for messages.
        template: The layer itself.
        matrix: Shape (n, variables): what the widths of the prunable groups make of the variables.
        sizes: Value of the variables in the dense network.
    """

    name: str
    template: Template
    matrix: NDArray[np.int64]
    sizes: tuple[int, ...]


def segments_of(traced: Traced, graph: PruneGraph | None = None) -> list[Segment]:
    """Cut the exported graph into layers, in the order in which they run.

    Args:
        traced: From `autoprune.graph.trace_program`.
        graph: Says which groups have a place in a vector of widths; None takes all prunable ones.

    Raises:
        ModelError: The graph has regions run by a wrapper, or arguments that cannot be written down.
    """
    network = _Network(traced, traced.graph if graph is None else graph)
    return [_segment(network, nodes) for nodes in _chunks(network.nodes)]


@dataclass(frozen=True, eq=False)
class _Network:
    """The exported graph with every number in it as a function of the widths."""

    traced: Traced
    graph: PruneGraph

    @cached_property
    def nodes(self) -> list[fx.Node]:
        nodes = list(self.traced.tracer.exported.program.graph_module.graph.nodes)
        for node in nodes:
            if node.op == "call_function" and isinstance(node.target, torch._ops.HigherOrderOperator):
                raise ModelError(
                    f"the latency cannot be tabulated: the exported graph has a region that '{node.target}' "
                    "runs; take the switch of modes (no_grad, autocast) out of the forward"
                )
        return nodes

    @cached_property
    def extents(self) -> Extents:
        names = {root: name for name, roots in self.traced.units.items() for root in roots}
        return Extents(self.traced.tracer, names)

    @cached_property
    def dense(self) -> dict[str, int]:
        return {group.name: group.size for group in self.graph.prunable}

    @cached_property
    def calls(self) -> dict[str, Any]:
        """Node name -> target and arguments, numbers that depend on widths as `Linear`.

        Every such number is linear in the widths, so that one probe per group tells its factor.
        """
        probes = {
            name: self._arguments({name: range(size - 1)}) for name, size in self.dense.items() if size > 1
        }
        return {
            node: merged(call, {group: probe[node] for group, probe in probes.items()}, self.dense)
            for node, call in self._arguments({}).items()
        }

    def _arguments(self, keep: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        module = rewrite(self.traced, keep).get_submodule("_graph")
        assert isinstance(module, fx.GraphModule)
        # The copy has the same nodes in the same order, behind placeholders of its own; names may differ.
        copies = list(module.graph.nodes)[-len(self.nodes) :]
        names = {new: old.name for new, old in zip(copies, self.nodes, strict=True)}
        return {
            name: [_name(node.target), encoded(node.args, names), encoded(node.kwargs, names)]
            for node, name in names.items()
            if node.op == "call_function"
        }

    def shape(self, value: Value) -> list[int | Linear]:
        """Sizes of a tensor; groups that may not be pruned count as dense."""
        sizes: list[int | Linear] = []
        for d in range(value.ndim):
            extent = self.extents.of(Dim(value, d))
            parts = {name: k for name, k in extent.parts if name in self.dense}
            fixed = extent.fixed + sum(
                k * self.graph.group(name).size for name, k in extent.parts if name not in self.dense
            )
            sizes.append(Linear(fixed, parts) if parts else fixed)
        return sizes


def _name(target: Any) -> str:
    if target is operator.getitem:
        return "getitem"
    return str(target)


def _chunks(nodes: Sequence[fx.Node]) -> Iterator[list[fx.Node]]:
    chunk: list[fx.Node] = []
    for node in nodes:
        if node.op != "call_function":
            continue
        if chunk and op_name(node.target) in HEADS and any(op_name(n.target) in HEADS for n in chunk):
            yield chunk
            chunk = []
        chunk.append(node)
    if chunk:
        yield chunk


def _segment(network: _Network, nodes: list[fx.Node]) -> Segment:
    inside = {node: i for i, node in enumerate(nodes)}
    inside = {n: i for i, n in enumerate(_own(nodes, inside))}
    outer: dict[str, int] = {}
    operands: list[tuple[list[int | Linear], str, bool]] = []
    for node in inside:
        for operand in node.all_input_nodes:
            if operand not in inside and operand.name not in outer:
                outer[operand.name] = len(outer)
                operands.append(_operand(network, operand))
    calls = [_linked(network.calls[n.name], outer, {m.name: i for m, i in inside.items()}) for n in inside]
    outputs = tuple(i for n, i in inside.items() if any(user not in inside for user in n.users))
    numbers = [[shape for shape, _, _ in operands], calls]
    variables = basis(numbers)
    matrix = np.zeros((len(network.dense), len(variables)), np.int64)
    for j, variable in enumerate(variables):
        for i, name in enumerate(network.dense):
            matrix[i, j] = variable.get(name, 0)
    template = Template(
        variables=len(variables),
        operands=tuple(
            Operand(shape=tuple(marked(shape, variables)), dtype=dtype, weight=weight)
            for shape, dtype, weight in operands
        ),
        ops=tuple(Op(name=call[0], args=tuple(call[1]), kwargs=call[2]) for call in marked(calls, variables)),
        outputs=outputs or (len(inside) - 1,),
    )
    dense = np.array(list(network.dense.values()), np.int64) @ matrix if len(variables) else ()
    return Segment(nodes[0].name, template, matrix, tuple(int(v) for v in dense))


def _own(nodes: list[fx.Node], inside: Mapping[fx.Node, int]) -> list[fx.Node]:
    """Without picks from a tuple that an earlier layer made: what is picked is an operand."""
    return [
        n
        for n in nodes
        if not (n.target is operator.getitem and isinstance(n.args[0], fx.Node) and n.args[0] not in inside)
    ]


def _operand(network: _Network, node: fx.Node) -> tuple[list[int | Linear], str, bool]:
    value = network.traced.values[node]
    if not isinstance(value, Value):
        raise ModelError(f"the latency cannot be tabulated: '{node.name}' of the exported graph is no tensor")
    return (
        network.shape(value),
        str(value.dtype).removeprefix("torch."),
        node.op != "call_function" and not _given(network, node),
    )


def _given(network: _Network, node: fx.Node) -> bool:
    """Whether a placeholder is an input of the network, not a tensor that it holds."""
    exported = network.traced.tracer.exported
    return (
        node.op == "placeholder" and node.name not in exported.sources and node.name not in exported.constants
    )


def _linked(call: Any, outer: Mapping[str, int], inner: Mapping[str, int]) -> Any:
    """References by name -> references by number."""
    if isinstance(call, dict):
        if set(call) == {"node"}:
            name = call["node"]
            return {"op": inner[name]} if name in inner else {"in": outer[name]}
        return {key: _linked(value, outer, inner) for key, value in call.items()}
    if isinstance(call, list):
        return [_linked(value, outer, inner) for value in call]
    return call
