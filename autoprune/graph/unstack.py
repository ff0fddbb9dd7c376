"""Stacked channels that are taken apart again, as a split of the exported graph: a fused qkv above all.

A fused layer emits several parts in one dimension. Taken apart by a view, `(..., 3 * c)` as `(..., 3, c)`,
and one index after the other, all parts must stay equally wide. Split first and viewed then, nothing ties
them. Only a rewritten graph can follow that, so that only traces for rewriting unstack.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from autoprune.graph.call import bind_arguments
from autoprune.graph.registry import aten, op_name
from autoprune.graph.reorder import SHUFFLES, shape_of, step, upwards
from autoprune.graph.rules.view import VIEWS
from autoprune.graph.unionfind import Ids

_OPS = torch.ops.aten
_TAKES = frozenset(aten("select unbind"))


@dataclass(frozen=True)
class _Stack:
    """Parts that a dimension consists of, and the chain of views that takes them apart.

    Attributes:
        source: What is taken apart.
        dim: The dimension that the parts lie in, one after the other.
        chain: The views.
        at: The dimension behind the last of them whose positions are the parts.
        count: How many parts there are.
        blocks: For every node of the chain, the dimension that the parts lie in behind it.
    """

    source: fx.Node
    dim: int
    chain: Sequence[fx.Node]
    at: int
    count: int
    blocks: Sequence[int]


def unstack(module: fx.GraphModule) -> int:
    """Replace every view of stacked parts that are then taken one by one by a split, and a view of each part.

    Args:
        module: An exported graph; changed in place.

    Returns:
        How many stacks were taken apart.
    """
    count = 0
    for node in list(module.graph.nodes):
        takers = _takers(node)
        stack = _stack(node, takers[0][2]) if takers else None
        if stack is None:
            continue
        _split(module.graph, stack, takers)
        for old in (*(taker for taker, _, _ in takers), *_unbinds(node), *reversed(stack.chain)):
            module.graph.erase_node(old)
        count += 1
    return count


def _unbinds(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if op_name(user.target) == "aten::unbind"]


def _takers(node: fx.Node) -> list[tuple[fx.Node, int, int]]:
    """The nodes that take single positions of one dimension, with position and dimension; none if mixed."""
    found: list[tuple[fx.Node, int, int]] = []
    if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
        return []
    shape = shape_of(node)
    for user in node.users:
        if user.op != "call_function" or op_name(user.target) not in _TAKES:
            return []
        named = bind_arguments(user.target, user.args, user.kwargs)
        dim = int(named["dim"]) % len(shape)
        if "index" in named:
            found.append((user, int(named["index"]) % shape[dim], dim))
        else:
            found += [(item, int(item.args[1]), dim) for item in user.users]  # type: ignore[arg-type]
    distinct = len({index for _, index, _ in found}) == len(found)
    return found if distinct and len({dim for _, _, dim in found}) == 1 else []


def _stack(last: fx.Node, at: int) -> _Stack | None:
    """The shortest chain of views up from `last` that brings parts of one dimension to its dimension `at`."""
    count = shape_of(last)[at]
    chain: list[fx.Node] = []
    for node in upwards(last):
        if op_name(node.target) in SHUFFLES:
            return None
        chain.insert(0, node)
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if len(source.users) > 1 or count < 2:
            return None
        for dim, size in enumerate(shape_of(source)):
            if size % count == 0 and size > count:
                blocks = _blocks(source, chain, dim, at, count)
                if blocks is not None:
                    return _Stack(source, dim, tuple(chain), at, count, blocks)
    return None


def _blocks(source: fx.Node, chain: Sequence[fx.Node], dim: int, at: int, count: int) -> list[int] | None:
    """In which dimension the parts lie behind every node; None unless they end as the positions of `at`."""
    shape = shape_of(source)
    ids = _parts(shape[dim], count).reshape([-1 if d == dim else 1 for d in range(len(shape))])
    found = []
    for node in chain:
        ids = step(node, ids)
        dims = [d for d, size in enumerate(ids.shape) if size > 1]
        if len(dims) != 1 or not np.array_equal(ids.ravel(), _parts(ids.size, count)):
            return None
        found += dims
    return found if found[-1] == at and ids.size == count else None


def _parts(size: int, count: int) -> Ids:
    """The part that every position lies in, parts one after the other."""
    return np.arange(size) // (size // count)


def _split(graph: fx.Graph, stack: _Stack, takers: Sequence[tuple[fx.Node, int, int]]) -> None:
    """Put the split, and views of the parts, in front of the chain's end; hand the parts to their readers."""
    size = shape_of(stack.source)[stack.dim] // stack.count
    with graph.inserting_before(stack.chain[0]):
        pieces = _call(graph, stack.chain[0], _OPS.split.Tensor, stack.source, size, stack.dim)
        for taker, index, _ in takers:
            piece = graph.call_function(operator.getitem, (pieces, index))
            piece.meta = dict(taker.meta) | {"val": pieces.meta["val"][index]}
            for node, block in zip(stack.chain, stack.blocks, strict=True):
                piece = _again(graph, node, piece, block, stack.count)
            part = _call(graph, taker, _OPS.select.int, piece, stack.at, 0)
            taker.replace_all_uses_with(part)


def _again(graph: fx.Graph, node: fx.Node, piece: fx.Node, block: int, count: int) -> fx.Node:
    """A step of the chain for one part."""
    if op_name(node.target) in VIEWS:
        shape = [size // count if d == block else size for d, size in enumerate(shape_of(node))]
        return _call(graph, node, _OPS.reshape.default, piece, shape)
    return _call(graph, node, node.target, piece, *node.args[1:], **node.kwargs)


def _call(graph: fx.Graph, like: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A new node with the metadata that a trace reads: its value, and the module it belongs to."""
    node = graph.call_function(target, args, kwargs)
    values = fx.map_arg((args, kwargs), lambda n: n.meta["val"])
    node.meta = dict(like.meta) | {"val": target(*values[0], **values[1])}
    return node
