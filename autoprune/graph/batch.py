"""One graph for any batch size, from two exports of the same network with different ones.

Export bakes the sizes of the example inputs into the graph. Of two exports that differ in nothing but the
batch, every number that differs must come from it; where all of these are multiples of the batch size, the
graph is made to compute them from the size it is given.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx


class _Differs(Exception):
    """The graphs differ in more than multiples of the batch size."""


def for_any_batch(
    first: fx.GraphModule, second: fx.GraphModule, sizes: tuple[int, int]
) -> fx.GraphModule | None:
    """Merge two graphs into one whose first placeholder is the size of the batch.

    Args:
        first: The graph for batches of `sizes[0]`. Its first placeholder takes the batch size, unused.
        second: The same for `sizes[1]`.
        sizes: The two batch sizes, different ones.

    Returns:
        The merged graph; None if the two differ in more than multiples of the batch size.
    """
    try:
        return _Merge(first, second, sizes).run()
    except _Differs:
        return None


class _Merge:
    def __init__(self, first: fx.GraphModule, second: fx.GraphModule, sizes: tuple[int, int]) -> None:
        self._modules, self._sizes = (first, second), sizes
        self._graph = fx.Graph()
        self._nodes: dict[fx.Node, fx.Node] = {}
        self._partners: dict[fx.Node, fx.Node] = {}
        self._multiples: dict[int, fx.Node] = {}

    def run(self) -> fx.GraphModule:
        first, second = (list(module.graph.nodes) for module in self._modules)
        _require(len(first) == len(second))
        for node, partner in zip(first, second, strict=True):
            _require((node.op, len(node.args)) == (partner.op, len(partner.args)))
            self._check_target(node, partner)
            args = self._merged(node.args, partner.args)
            kwargs = self._merged(node.kwargs, partner.kwargs)
            self._nodes[node] = self._graph.create_node(node.op, node.target, args, kwargs, node.name)
            self._partners[node] = partner
        return fx.GraphModule(_attributes(self._modules[0]), self._graph)

    def _check_target(self, node: fx.Node, partner: fx.Node) -> None:
        if node.op == "get_attr":
            found = [
                operator.attrgetter(str(n.target))(m)
                for n, m in zip((node, partner), self._modules, strict=True)
            ]
            _require(_same(*found))
        elif node.op == "call_function":
            _require(node.target == partner.target)

    def _merged(self, a: Any, b: Any) -> Any:
        if isinstance(a, fx.Node):
            _require(self._partners.get(a) is b)
            return self._nodes[a]
        _require(type(a) is type(b))
        if isinstance(a, Mapping):
            _require(list(a) == list(b))
            return {key: self._merged(a[key], b[key]) for key in a}
        if isinstance(a, Sequence) and not isinstance(a, str):
            _require(len(a) == len(b))
            return type(a)([self._merged(x, y) for x, y in zip(a, b, strict=True)])  # type: ignore[call-arg]
        if a == b:
            return a
        _require(type(a) is int and a % self._sizes[0] == 0 and a * self._sizes[1] == b * self._sizes[0])
        return self._multiple(a // self._sizes[0])

    def _multiple(self, factor: int) -> fx.Node:
        """`factor` times the batch size; made where it is first needed."""
        batch: fx.Node = next(iter(self._graph.nodes))
        if factor == 1:
            return batch
        if factor not in self._multiples:
            self._multiples[factor] = self._graph.call_function(operator.mul, (batch, factor))
        return self._multiples[factor]


def _attributes(module: fx.GraphModule) -> dict[str, Any]:
    return {
        **dict(module.named_children()),
        **dict(module.named_buffers(recurse=False)),
        **dict(module.named_parameters(recurse=False)),
    }


def _same(a: Any, b: Any) -> bool:
    """Whether two constants, or bodies of wrappers, are equal."""
    if isinstance(a, fx.GraphModule) and isinstance(b, fx.GraphModule):
        # A body gets no batch size, so that it must not hold one.
        merged = for_any_batch(a, b, (1, 2)) if _bakes_nothing(a, b) else None
        return merged is not None
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    return bool(a == b)


def _bakes_nothing(a: fx.GraphModule, b: fx.GraphModule) -> bool:
    def constants(module: fx.GraphModule) -> list[Any]:
        return [
            [x for x in torch.utils._pytree.tree_leaves((n.args, n.kwargs)) if not isinstance(x, fx.Node)]
            for n in module.graph.nodes
        ]

    return constants(a) == constants(b)


def _require(holds: bool) -> None:
    if not holds:
        raise _Differs
