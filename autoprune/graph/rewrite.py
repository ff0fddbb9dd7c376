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

from autoprune.errors import ModelError
from autoprune.graph.batch import for_any_batch
from autoprune.graph.call import Call, bind_arguments
from autoprune.graph.interface import batch_size, interface_of
from autoprune.graph.memory import in_order_of
from autoprune.graph.registry import op_name
from autoprune.graph.rewritten import RewrittenModule
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


def rewrite(
    traced: Traced,
    keep: Mapping[str, Sequence[int]],
    overrides: Mapping[str, Tensor] | None = None,
    *,
    twin: Traced | None = None,
    source: Mapping[str, Tensor] | None = None,
) -> RewrittenModule:
    """Build the pruned network from the exported graph, in train or eval mode as the model was traced in.

    Args:
        traced: From `trace_program`.
        keep: Unit indices that stay, by group name; missing groups stay dense.
        overrides: Tensors to use instead of the selected ones, by name, already of the smaller shape.
        twin: The same network traced at another batch size; makes the result fit any.
        source: Tensors to select from, by name; None takes the model's as they are now.

    Raises:
        ArgumentError: `keep` does not fit the graph.
        ModelError: An override has the wrong name or shape, or the two traces differ in more than the batch.
    """
    exported = traced.tracer.exported
    module = _graph(traced, keep)
    if twin is not None:
        batches = tuple(batch_size(t.graph.inputs) or 0 for t in (traced, twin))
        merged = for_any_batch(module, _graph(twin, keep), (batches[0], batches[1]))
        if merged is None:
            raise ModelError("the exported graph must depend on nothing of the batch but its size, it does")
        module = merged
    call = exported.program.call_spec
    model = traced.graph.model
    assert model is not None
    specs = call.in_spec, call.out_spec
    interface = interface_of(model, traced.graph.inputs, specs, any_batch=twin is not None)
    tensors = _sliced(traced, keep, overrides or {}, exported.tensors if source is None else source)
    named = {name: tensors[exported.aliases.get(name, name)] for name in exported.fingerprint}
    network = RewrittenModule(module, state_order(traced), named, interface)
    return network.train(model.training)


def state_order(traced: Traced) -> list[str | Tensor]:
    """What the graph's placeholders take before the inputs: names of tensors, and constants."""
    exported = traced.tracer.exported
    order: list[str | Tensor] = []
    for spec in exported.program.graph_signature.input_specs:
        name = exported.sources.get(spec.arg.name)
        if name is not None:
            order.append(name)
        elif spec.arg.name in exported.constants:
            order.append(_constant(exported.program, str(spec.target)))
    return order


def _graph(traced: Traced, keep: Mapping[str, Sequence[int]]) -> fx.GraphModule:
    """The corrected graph, with the batch size and the mode as placeholders in front."""
    return _copy(traced.tracer.exported.program.graph_module, Sizes(traced, keep), ("batch", "training"))


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


def _copy(module: fx.GraphModule, sizes: Sizes, front: Sequence[str] = ()) -> fx.GraphModule:
    """A copy of a graph module, and of the bodies inside it, with corrected sizes and indices."""
    values = sizes.traced.values
    graph = fx.Graph()
    extra = {name: graph.placeholder(name) for name in front}
    nodes: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if op_name(node.target) == _CHECK:
            continue
        target, args, kwargs = node.target, node.args, node.kwargs
        if node.op == "call_function":
            target, args, kwargs = _corrected(node, values, sizes)
            args = _following(node, args, extra.get("training"))
        new = graph.create_node(
            node.op,
            target,
            fx.map_arg(args, lambda n: nodes.get(n, n)),
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


_CHECK = "aten::_assert_tensor_metadata"
"""Export leaves these where a type is cast; left out, so that the network can run in another type."""

_MODES = {"aten::batch_norm": 5, "aten::dropout": 2, "aten::feature_dropout": 2, "aten::alpha_dropout": 2}
"""Where ops that behave differently in training say so; export in eval mode leaves False there."""


def _following(node: fx.Node, args: tuple[Any, ...], training: fx.Node | None) -> tuple[Any, ...]:
    """The arguments of an op that is to follow the mode of the network that runs it."""
    at = _MODES.get(op_name(node.target))
    if training is None or at is None or len(args) <= at or args[at] is not False:
        return args
    return (*args[:at], training, *args[at + 1 :])


def _corrected(
    node: fx.Node, values: Mapping[fx.Node, Any], sizes: Sizes
) -> tuple[Any, tuple[Any, ...], Changes]:
    """Target, args and kwargs of a node for the pruned network."""
    correct = _CORRECTIONS.get(op_name(node.target)) if node in values else None
    if correct is None:
        return node.target, node.args, dict(node.kwargs)
    call = Call.bind(node, dict(values))
    target, changes = correct(call, values[node], sizes)
    named = bind_arguments(node.target, node.args, node.kwargs)
    if target is not node.target:
        wanted = {argument.name for argument in target._schema.arguments}
        named = {name: value for name, value in named.items() if name in wanted}
    named |= changes
    if not isinstance(target, torch._ops.OpOverload):
        return target, (), named
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


def _pinned_scale(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    """The scale that the dense network has by default, where the number of compared channels changes."""
    depth = call["query"].ndim - 1
    if call.get("scale") is not None or sizes.along(call["query"], depth).all():
        return call.node.target, {}
    return call.node.target, {"scale": float(call["query"].shape[depth]) ** -0.5}


def _reorder(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    stays = sizes.along(call["x"], int(call["dim"]))
    places = np.cumsum(stays) - 1
    return call.node.target, {"order": [int(places[i]) for i in call["order"] if stays[i]]}


def _spread(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    return call.node.target, {"places": _places(sizes.along(call["x"], int(call["dim"])))}


def _collect(call: Call, result: Value, sizes: Sizes) -> tuple[Any, Changes]:
    return call.node.target, {"places": _places(sizes.along(call["like"], int(call["dim"])))}


def _places(stays: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(stays)]


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
    "python::reorder": _reorder,
    "python::spread": _spread,
    "python::collect": _collect,
    "aten::scaled_dot_product_attention": _pinned_scale,
}


def _sliced(
    traced: Traced,
    keep: Mapping[str, Sequence[int]],
    overrides: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """All parameters and buffers, sliced or replaced; parameters trainable as before."""
    slices = traced.graph.slices(keep)
    known = traced.tracer.exported.tensors
    for name in overrides:
        if name not in known:
            raise ModelError(f"the model has no tensor '{name}' to replace; use weights made for this model")
    result: dict[str, Tensor] = {}
    with torch.inference_mode(False), torch.no_grad():
        for name, tensor in known.items():
            cut = _selected(source[name], slices.get(name, {}), overrides.get(name), name)
            trainable = isinstance(tensor, nn.Parameter)
            result[name] = nn.Parameter(cut, tensor.requires_grad) if trainable else cut
    return result


def _selected(
    dense: Tensor, slices: Mapping[int, NDArray[np.int64]], override: Tensor | None, name: str
) -> Tensor:
    """A tensor that owns its memory, in the dense one's order: what stays of it, or the override."""
    cut = dense.detach()
    for dim, indices in slices.items():
        cut = cut.index_select(dim, torch.as_tensor(indices, device=cut.device))
    if override is not None:
        if override.shape != cut.shape:
            expected, got = tuple(cut.shape), tuple(override.shape)
            raise ModelError(f"the weights for '{name}' must have shape {expected}, got {got}")
        cut = override.detach().to(dense)
    return in_order_of(dense, cut.clone())


def _constant(program: torch.export.ExportedProgram, name: str) -> Tensor:
    found = program.constants.get(name)
    tensor: Tensor = found if found is not None else program.state_dict[name]
    return tensor.detach().clone()
