"""The exported graph itself as a pruned network: tensors sliced, sizes and indices in the graph corrected.

This reaches every network that can be traced, also where the Python forward holds sizes that slicing its
tensors does not change (hard-coded views, channel counts, split sizes).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ArgumentError
from autoprune.graph.call import Call, bind_arguments
from autoprune.graph.settle import ids_along
from autoprune.graph.tracer import Tracer
from autoprune.graph.types import PruneGraph
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Value

Changes = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Traced:
    """A trace with all that it learned of every value on the way.

    Attributes:
        graph: The result.
        tracer: The state of the walk.
        values: What every node of the exported graph yields.
        units: Group name -> representative ids of its units, in order; prunable groups only.
    """

    graph: PruneGraph
    tracer: Tracer
    values: Mapping[fx.Node, Any]
    units: Mapping[str, Sequence[int]]


class RewrittenModule(nn.Module):
    """A pruned network that runs the exported graph; parameters and buffers keep their names.

    It computes what the model computes in eval mode, for inputs of the shapes that were traced.
    """

    def __init__(
        self, graph: fx.GraphModule, order: Sequence[str | Tensor], tensors: Mapping[str, Tensor], specs: Any
    ):
        super().__init__()
        self._order = tuple(name if isinstance(name, str) else "" for name in order)
        self._specs = specs
        self._constants = [None if isinstance(name, str) else name for name in order]
        for name, tensor in tensors.items():
            _register(self, name, tensor)
        self._graph = graph

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph; arguments as the traced model's."""
        inputs, spec = pytree.tree_flatten((args, kwargs))
        if spec != self._specs[0]:
            raise ArgumentError(
                f"the inputs must have the structure that was traced, {self._specs[0]}, got {spec}"
            )
        state = [
            _lookup(self, name) if constant is None else constant
            for name, constant in zip(self._order, self._constants, strict=True)
        ]
        return pytree.tree_unflatten(self._graph(*state, *inputs), self._specs[1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_specs": [pytree.treespec_dumps(spec) for spec in self._specs]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        specs = [pytree.treespec_loads(spec) for spec in state["_specs"]]
        super().__setstate__(state | {"_specs": specs})  # type: ignore[no-untyped-call]


def rewrite(traced: Traced, keep: Mapping[str, Sequence[int]]) -> RewrittenModule:
    """Build the pruned network from the exported graph.

    Args:
        traced: From `trace_program`.
        keep: Unit indices that stay, by group name; missing groups stay dense.

    Raises:
        ArgumentError: `keep` does not fit the graph.
    """
    program = traced.tracer.exported.program
    sizes = Sizes(traced, keep)
    module = _copy(program.graph_module, sizes)
    tensors = _sliced(traced, keep)
    order: list[str | Tensor] = []
    for spec in program.graph_signature.input_specs:
        name = traced.tracer.exported.sources.get(spec.arg.name)
        if name is not None:
            order.append(name)
        elif spec.arg.name in traced.tracer.exported.constants:
            order.append(_constant(program, str(spec.target)))
    call = program.call_spec
    return RewrittenModule(module, order, tensors, (call.in_spec, call.out_spec))


@dataclass(frozen=True, eq=False)
class Sizes:
    """Which positions of every dimension stay, for one choice of units."""

    traced: Traced
    keep: Mapping[str, Sequence[int]]

    @cached_property
    def _gone(self) -> Ids:
        full = self.traced.graph.keep(self.keep)
        gone = [np.delete(np.asarray(roots), full[name]) for name, roots in self.traced.units.items()]
        return np.concatenate(gone) if gone else np.empty(0, dtype=np.int64)

    def stays(self, ids: Ids) -> NDArray[np.bool_]:
        """Whether the position with each id stays, same shape."""
        return ~np.isin(self.traced.tracer.find(ids), self._gone)

    def along(self, value: Value, dim: int) -> NDArray[np.bool_]:
        """Which positions along `dim` stay, shape (size,)."""
        stays = np.ones(value.shape[dim], dtype=bool)
        for label in value.labels:
            ids = ids_along(self.traced.tracer, label, dim)
            if ids is not None:
                stays &= self.stays(ids)
        return stays

    def shape(self, value: Value) -> list[int]:
        """The size that stays of every dimension."""
        return [int(self.along(value, d).sum()) for d in range(value.ndim)]


def _copy(module: fx.GraphModule, sizes: Sizes) -> fx.GraphModule:
    """A copy of a graph module, and of the bodies inside it, with corrected sizes and indices."""
    values = sizes.traced.values
    graph = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        target, args, kwargs = node.target, node.args, node.kwargs
        if node.op == "call_function":
            target, args, kwargs = _corrected(node, values, sizes)
        new = graph.create_node(
            node.op,
            target,
            fx.map_arg(args, nodes.__getitem__),
            fx.map_arg(kwargs, nodes.__getitem__),
            node.name,
        )
        nodes[node] = new
    attributes: dict[str, Any] = {
        name: _copy(child, sizes) if isinstance(child, fx.GraphModule) else child
        for name, child in module.named_children()
    }
    attributes |= dict(module.named_buffers(recurse=False)) | dict(module.named_parameters(recurse=False))
    copied = fx.GraphModule(attributes, graph)
    return copied


def _corrected(
    node: fx.Node, values: Mapping[fx.Node, Any], sizes: Sizes
) -> tuple[Any, tuple[Any, ...], Changes]:
    """Target, args and kwargs of a node for the pruned network."""
    schema = getattr(node.target, "_schema", None)
    correct = None if schema is None or node not in values else _CORRECTIONS.get(str(schema.name))
    if correct is None:
        return node.target, node.args, dict(node.kwargs)
    call = Call.bind(node, dict(values))
    target, changes = correct(call, values[node], sizes)
    named = bind_arguments(node.target, node.args, node.kwargs)
    if target is not node.target:
        wanted = {argument.name for argument in target._schema.arguments}
        named = {name: value for name, value in named.items() if name in wanted}
    named |= changes
    names = [
        argument.name
        for argument in target._schema.arguments
        if not argument.kwarg_only and argument.name in named
    ]
    return target, tuple(named.pop(name) for name in names), named


def _viewed(name: str) -> Callable[[Call, Any, Sizes], tuple[Any, Changes]]:
    """The argument `name` holds the whole shape of the result."""

    def correct(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
        return call.node.target, {name: sizes.shape(result)}

    return correct


def _unflatten(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    dim = int(call["dim"]) % call.input.ndim
    shape = sizes.shape(result)
    return call.node.target, {"sizes": shape[dim : dim + len(call["sizes"])]}


def _groups(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    """Removing a whole conv group leaves fewer groups: the weight's inner dimension is what a group reads."""
    groups = int(call["groups"])
    x, weight = call["input"], call["weight"]
    channel = x.ndim - weight.ndim + 1
    if groups == 1:
        return call.node.target, {}
    transposed = "transpose" in call.name or bool(call.get("transposed", False))
    if transposed:
        count = int(sizes.along(result, channel).sum()) // int(sizes.along(weight, 1).sum())
    else:
        count = int(sizes.along(x, channel).sum()) // int(sizes.along(weight, 1).sum())
    return call.node.target, {"groups": count}


def _norm_groups(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    x, groups = call.input, int(call["num_groups"])
    stays = sizes.along(x, 1).reshape(groups, -1)
    return call.node.target, {"num_groups": max(1, int(stays.any(1).sum())) if groups > 1 else 1}


def _normalized(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    return call.node.target, {"normalized_shape": sizes.shape(call.input)[-len(call["normalized_shape"]) :]}


def _window(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    x = call.input
    dim = int(call["dim"]) % x.ndim
    stays = sizes.along(x, dim)
    if stays.all():
        return call.node.target, {}
    start, end, _ = slice(call["start"], call["end"], call["step"]).indices(len(stays))
    return call.node.target, {"start": int(stays[:start].sum()), "end": int(stays[:end].sum())}


def _narrow(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    x = call.input
    dim = int(call["dim"]) % x.ndim
    stays, start = sizes.along(x, dim), int(call["start"]) % x.shape[dim]
    length = int(stays[start : start + call["length"]].sum())
    return call.node.target, {"start": int(stays[:start].sum()), "length": length}


def _index(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    x = call.input
    dim = int(call["dim"]) % x.ndim
    index = int(call["index"]) % x.shape[dim]
    return call.node.target, {"index": int(sizes.along(x, dim)[:index].sum())}


def _split(call: Call, result: Sequence[Value], sizes: Sizes) -> tuple[Any, Changes]:
    dim = int(call["dim"]) % call.input.ndim
    parts, start = [], 0
    stays = sizes.along(call.input, dim)
    for part in result:
        parts.append(int(stays[start : start + part.shape[dim]].sum()))
        start += part.shape[dim]
    return torch.ops.aten.split_with_sizes.default, {"split_sizes": parts}


def _shuffle(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    x, groups = call.input, int(call["groups"])
    return call.node.target, {"groups": int(sizes.along(x, 1).reshape(groups, -1).any(1).sum())}


_CORRECTIONS: dict[str, Callable[[Call, Any, Sizes], tuple[Any, Changes]]] = {
    **dict.fromkeys(
        ("aten::view", "aten::expand", "aten::broadcast_to", "aten::_unsafe_view"), _viewed("size")
    ),
    "aten::reshape": _viewed("shape"),
    "aten::unflatten": _unflatten,
    **dict.fromkeys([f"aten::conv{n}d" for n in (1, 2, 3)], _groups),
    **dict.fromkeys([f"aten::conv_transpose{n}d" for n in (1, 2, 3)], _groups),
    "aten::convolution": _groups,
    "aten::group_norm": _norm_groups,
    "aten::layer_norm": _normalized,
    "aten::rms_norm": _normalized,
    "aten::slice": _window,
    "aten::narrow": _narrow,
    "aten::select": _index,
    **dict.fromkeys(
        [f"aten::{name}" for name in ("split", "split_with_sizes", "chunk", "tensor_split")], _split
    ),
    "aten::channel_shuffle": _shuffle,
}


def _sliced(traced: Traced, keep: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """All parameters and buffers, sliced; parameters trainable as before."""
    slices = traced.graph.slices(keep)
    result: dict[str, Tensor] = {}
    for name, tensor in traced.tracer.exported.tensors.items():
        cut = tensor.detach()
        for dim, indices in slices.get(name, {}).items():
            cut = cut.index_select(dim, torch.as_tensor(indices, device=cut.device))
        cut = cut.clone()
        result[name] = nn.Parameter(cut, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else cut
    return result


def _constant(program: torch.export.ExportedProgram, name: str) -> Tensor:
    found = program.constants.get(name)
    tensor: Tensor = found if found is not None else program.state_dict[name]
    return tensor.detach().clone()


def _register(root: nn.Module, name: str, tensor: Tensor) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        child = root._modules[part]
        assert child is not None
        root = child
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(last, tensor)
    else:
        root.register_buffer(last, tensor)


def _lookup(root: nn.Module, name: str) -> Tensor:
    *path, last = name.split(".")
    for part in path:
        root = getattr(root, part)
    found: Tensor = getattr(root, last)
    return found
