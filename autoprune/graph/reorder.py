"""Channel shuffles as one step of the exported graph: another order along one dimension.

A shuffle splits the channels into parts, transposes, and joins them again. As views, all parts must stay
equally long. As one list of indices, nothing ties the parts: whatever stays is put in the order that the
dense network has it in. Only a rewritten graph can follow that, so that only traces for rewriting fold.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor, fx

from autoprune.graph.call import bind_arguments
from autoprune.graph.registry import aten, op_name
from autoprune.graph.rules.elementwise import IDENTITY
from autoprune.graph.rules.view import VIEWS, carry, constant_along
from autoprune.graph.unionfind import Ids

_LONGEST = 8  # views in a chain
_WIDEST = 1 << 14  # positions in a list; channels are fewer, flattened images are left alone
_SWAPS = frozenset(aten("transpose swapaxes swapdims"))
_KEEPS = frozenset(IDENTITY) - frozenset(aten("to _to_copy type_as"))
_LOOKUPS = frozenset(aten("index_select index"))
SHUFFLES = frozenset(aten("channel_shuffle native_channel_shuffle"))


def reorder(x: Tensor, dim: int, order: Sequence[int]) -> Tensor:
    """The positions `order` of dimension `dim`, in that order."""
    return x.index_select(dim, torch.tensor(order, device=x.device))


def fold_shuffles(module: fx.GraphModule) -> int:
    """Replace every chain of views and transposes that only reorders one dimension by one call of `reorder`.

    Args:
        module: An exported graph; changed in place.

    Returns:
        How many chains were replaced.
    """
    count = 0
    for node in list(module.graph.nodes):
        found = _shuffle(node)
        if found is None:
            continue
        source, dim, order = found
        with module.graph.inserting_before(node):
            new = module.graph.call_function(
                reorder, kwargs={"x": source, "dim": dim, "order": order.tolist()}
            )
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        _erase(module.graph, node, source)
        count += 1
    return count


def fold_lookups(module: fx.GraphModule, constants: Mapping[str, Tensor]) -> int:
    """Replace every look-up of constant positions along one dimension by one call of `reorder`.

    Args:
        module: An exported graph; changed in place.
        constants: Placeholder name -> tensor, for the constants of the model.

    Returns:
        How many look-ups were replaced.
    """
    count = 0
    for node in list(module.graph.nodes):
        found = _lookup(node, constants)
        if found is None:
            continue
        source, dim, order = found
        with module.graph.inserting_before(node):
            new = module.graph.call_function(reorder, kwargs={"x": source, "dim": dim, "order": order})
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
        count += 1
    return count


def _lookup(node: fx.Node, constants: Mapping[str, Tensor]) -> tuple[fx.Node, int, list[int]] | None:
    """What is looked up, along which dimension and where, if `node` looks constant positions up."""
    if node.op != "call_function" or op_name(node.target) not in _LOOKUPS:
        return None
    named = bind_arguments(node.target, node.args, node.kwargs)
    source = named["self"]
    if "indices" in named:
        at = [d for d, index in enumerate(named["indices"]) if index is not None]
        dim, index = at[0], named["indices"][at[0]]
        if len(at) > 1:
            return None
    else:
        dim, index = int(named["dim"]) % len(shape_of(source)), named["index"]
    while index.op == "call_function" and op_name(index.target) in IDENTITY:
        index = index.args[0]
    found = constants.get(index.name) if index.op == "placeholder" else None
    if found is None or found.ndim != 1 or found.dtype is not torch.int64:
        return None
    size = shape_of(source)[dim]
    return source, dim, [position % size for position in found.tolist()]


def _erase(graph: fx.Graph, node: fx.Node, source: fx.Node) -> None:
    """Take out a chain from its end up to its source, as far as nothing else reads it."""
    while node is not source and not node.users:
        before = node.args[0]
        graph.erase_node(node)
        assert isinstance(before, fx.Node)
        node = before


def _shuffle(last: fx.Node) -> tuple[fx.Node, int, Ids] | None:
    """The shortest chain up from `last` that is a shuffle: where it starts, its dimension and the order."""
    chain: list[fx.Node] = []
    for node in upwards(last):
        chain.insert(0, node)
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if shape_of(source) != shape_of(last):
            continue
        orders = [_moved(chain, d) for d in range(len(shape_of(last)))]
        if any(order is None for order in orders):
            continue
        changed = [(d, o) for d, o in enumerate(orders) if o is not None and (np.diff(o) != 1).any()]
        if len(changed) == 1 and len(changed[0][1]) <= _WIDEST:
            return source, *changed[0]
    return None


def upwards(node: fx.Node) -> Iterator[fx.Node]:
    """The ops from `node` upwards that only move elements."""
    for _ in range(_LONGEST):
        if node.op != "call_function" or op_name(node.target) not in _MOVES:
            return
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or not isinstance(source.meta.get("val"), Tensor):
            return
        yield node
        node = source


def _moved(chain: Sequence[fx.Node], dim: int) -> Ids | None:
    """Which position of `dim` ends where; None if they do not end along the same dimension alone."""
    source = chain[0].args[0]
    assert isinstance(source, fx.Node)
    shape = shape_of(source)
    ids = np.arange(shape[dim]).reshape([-1 if d == dim else 1 for d in range(len(shape))])
    for node in chain:
        ids = step(node, ids)
    alone = all(size == 1 for d, size in enumerate(ids.shape) if d != dim)
    return ids.ravel() if alone and ids.size == shape[dim] else None


def step(node: fx.Node, ids: Ids) -> Ids:
    """Move ids (size 1 where they do not vary) as the op moves elements."""
    name = op_name(node.target)
    source = node.args[0]
    assert isinstance(source, fx.Node)
    before, after = shape_of(source), shape_of(node)
    arguments = bind_arguments(node.target, node.args, node.kwargs)
    if name in VIEWS:
        return _squeezed(carry(ids, before, after))
    if name in _SWAPS:
        a, b = (arguments[key] for key in list(arguments)[1:3])
        return ids.swapaxes(a, b)
    if name == "aten::permute":
        return ids.transpose(arguments["dims"])
    if name in SHUFFLES:
        groups = int(arguments["groups"])
        parts = (before[0], groups, before[1] // groups, prod(before[2:]))
        turned = carry(ids, before, parts).swapaxes(1, 2)
        return _squeezed(carry(turned, (parts[0], parts[2], parts[1], parts[3]), before))
    return ids


def _squeezed(ids: Ids) -> Ids:
    for dim in range(ids.ndim):
        if ids.shape[dim] > 1 and constant_along(ids, dim):
            ids = ids.take([0], axis=dim)
    return ids


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The dense shape of what a node yields."""
    return tuple(int(size) for size in node.meta["val"].shape)


_MOVES = frozenset(VIEWS) | _SWAPS | SHUFFLES | _KEEPS | {"aten::permute"}
