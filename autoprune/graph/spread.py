"""Convolutions over the channels themselves, as efficient channel attention has them (arXiv:1910.03151).

Such a convolution reads neighboring channels, so that removing one changes what its neighbors meet. A
rewritten graph can follow: it puts what stays back where it was, zeros in between, convolves, and takes the
positions that stay out again. Only traces for rewriting do so.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from autoprune.graph.call import bind_arguments
from autoprune.graph.registry import op_name
from autoprune.graph.reorder import shape_of

_WIDEST = 1 << 14  # positions; channels are fewer, long signals are left alone


def spread(x: Tensor, dim: int, places: Sequence[int], size: int) -> Tensor:
    """Put the positions of dimension `dim` at `places` of one of length `size`, with zeros elsewhere."""
    if len(places) == size:
        return x
    shape = (*x.shape[:dim], size, *x.shape[dim + 1 :])
    return x.new_zeros(shape).index_copy(dim, torch.tensor(places, device=x.device), x)


def collect(y: Tensor, like: Tensor, dim: int, places: Sequence[int]) -> Tensor:
    """The positions `places` of dimension `dim`, as many as `like` has there."""
    if len(places) == y.shape[dim]:
        return y
    return y.index_select(dim, torch.tensor(places, device=y.device))


def spread_convolutions(module: fx.GraphModule) -> int:
    """Put `spread` in front of every convolution of one channel that keeps the length, `collect` behind it.

    Args:
        module: An exported graph; changed in place.

    Returns:
        How many convolutions there were.
    """
    count = 0
    for node in list(module.graph.nodes):
        if not _keeps_length(node):
            continue
        source = node.args[0]
        assert isinstance(source, fx.Node)
        dim, size = len(shape_of(node)) - 1, shape_of(node)[-1]
        places = list(range(size))
        with module.graph.inserting_before(node):
            wide = module.graph.call_function(
                spread, kwargs={"x": source, "dim": dim, "places": places, "size": size}
            )
        wide.meta = dict(node.meta) | {"val": source.meta["val"]}
        node.replace_input_with(source, wide)
        with module.graph.inserting_after(node):
            narrow = module.graph.call_function(collect)
        node.replace_all_uses_with(narrow)
        narrow.kwargs = {"y": node, "like": source, "dim": dim, "places": places}
        narrow.meta = dict(node.meta)
        count += 1
    return count


def _keeps_length(node: fx.Node) -> bool:
    """Whether a node is a convolution of one channel over a dimension that stays as long as it is."""
    if node.op != "call_function" or op_name(node.target) != "aten::conv1d":
        return False
    named = bind_arguments(node.target, node.args, node.kwargs)
    before, weight = shape_of(named["input"]), shape_of(named["weight"])
    after = shape_of(node)
    same = isinstance(node.args[0], fx.Node) and before[-1] == after[-1] <= _WIDEST
    return same and weight[:2] == (1, 1) and weight[2] > 1 and list(named["stride"]) == [1]
