"""Ops that put dimensions, or whole rows of elements, elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autoprune.graph.call import Call
from autoprune.graph.channels import drop_zeros, lock_along, single
from autoprune.graph.merge import align, describe, merge
from autoprune.graph.registry import rule
from autoprune.graph.rules.view import reshape
from autoprune.graph.tracer import Tracer
from autoprune.graph.unionfind import Ids
from autoprune.graph.values import Label, Value

_SOME = "some of these positions are looked up"
_SHUFFLED = "shuffled: the model's own forward may not follow, the rewritten graph does"


def moved(call: Call, move: Callable[[Ids], Ids], labels: Sequence[Label] | None = None) -> Value:
    """The result with every label's ids moved as the elements are."""
    labels = call.input.labels if labels is None else labels
    return replace(call.output, labels=tuple(Label(move(label.ids), label.zero) for label in labels))


@rule("aten::permute")
def permute(tracer: Tracer, call: Call) -> Value:
    """Another order of the dimensions.

    Exact because the units move as the elements do.
    """
    return moved(call, lambda ids: ids.transpose(call["dims"]))


@rule("aten::transpose", "aten::transpose_", "aten::swapaxes", "aten::swapdims")
def transpose(tracer: Tracer, call: Call) -> Value:
    """Two dimensions change places.

    Exact because the units move as the elements do.
    """
    a, b = (call[name] for name in list(call.arguments)[1:3])
    return moved(call, lambda ids: ids.swapaxes(a, b) if ids.ndim else ids)


@rule("aten::t", "aten::numpy_T", "aten::mT", "aten::adjoint")
def matrix_transpose(tracer: Tracer, call: Call) -> Value:
    """The last two dimensions change places.

    Exact because the units move as the elements do.
    """
    return moved(call, lambda ids: ids.swapaxes(-1, -2) if ids.ndim > 1 else ids)


@rule("aten::movedim", "aten::moveaxis")
def movedim(tracer: Tracer, call: Call) -> Value:
    """Dimensions move to other places.

    Exact because the units move as the elements do.
    """
    return moved(call, lambda ids: np.moveaxis(ids, call["source"], call["destination"]))


@rule("aten::expand", "aten::broadcast_to")
def expand(tracer: Tracer, call: Call) -> Value:
    """Repeats along dimensions of size 1; what is repeated to a constant size is not labeled there.

    Exact because the copies are equal, and a dimension of size 1 has no unit to remove.
    """
    ndim = call.output.ndim
    return moved(call, lambda ids: align(ids, ndim))


@rule("aten::expand_as")
def expand_as(tracer: Tracer, call: Call) -> Value:
    """Repeats along dimensions of size 1, to the size that the other operand has there.

    Exact because the units of the other operand's dimension are removed along with it.
    """
    out = call.output
    labels = [Label(entry.ids, entry.zeros.get(0, False)) for entry in merge(tracer, call.values, out.shape)]
    return replace(out, labels=tuple(labels))


@rule("aten::repeat", "aten::tile")
def repeat(tracer: Tracer, call: Call) -> Value:
    """Copies one after the other; all copies of a channel are one unit.

    Exact because all copies stay or go together, in the same order.
    """
    x = call.input
    times = list(call.get("repeats", call.get("dims")))
    times = [1] * (x.ndim - len(times)) + times
    return moved(call, lambda ids: _copies(align(ids, len(times)), times))


def _copies(ids: Ids, times: list[int]) -> Ids:
    """Tile where the ids vary; a dimension of copies of something constant stays constant."""
    return np.tile(ids, [n if size > 1 else 1 for n, size in zip(times, ids.shape, strict=True)])


@rule("aten::repeat_interleave")
def repeat_interleave(tracer: Tracer, call: Call) -> Any:
    """Copies side by side; all copies of a channel are one unit.

    Exact because all copies stay or go together, in the same order.
    """
    x, count, dim = call.input, call.get("repeats"), call.get("dim")
    if not isinstance(count, int) or dim is None:
        return NotImplemented
    return moved(call, lambda ids: ids.repeat(count, dim) if ids.shape[dim % x.ndim] > 1 else ids)


@rule("aten::flip")
def flip(tracer: Tracer, call: Call) -> Value:
    """Backwards; what stays is in the same order backwards.

    Exact because the units move as the elements do.
    """
    return moved(call, lambda ids: np.flip(ids, call["dims"]))


@rule("aten::roll")
def roll(tracer: Tracer, call: Call) -> Value:
    """A cyclic shift by a constant: locked along the shifted dimensions, others pass.

    Exact because along the other dimensions every slice is shifted by itself.
    """
    x = call.input
    dims = [d % x.ndim for d in call["dims"]] or list(range(x.ndim))
    labels = lock_along(tracer, x, dims, "shifted by a constant number of positions", keep=True)
    stay = [label for label in labels if not set(label.dims) & set(dims)]
    gone = [label for label in labels if set(label.dims) & set(dims)]
    shifted = [Label(np.roll(label.ids, call["shifts"], call["dims"] or None), label.zero) for label in gone]
    return replace(call.output, labels=(*stay, *shifted))


@rule("aten::pixel_shuffle")
def pixel_shuffle(tracer: Tracer, call: Call) -> Value:
    """Channels (c, r, r) become pixels: the r * r channels of one output channel are one unit.

    Exact because all pixels of an output channel stay or go together.
    """
    x, square = call.input, int(call["upscale_factor"]) ** 2
    channel = x.ndim - 3
    labels = list(lock_along(tracer, x, (x.ndim - 2, x.ndim - 1), f"{call.name} runs over this dimension"))
    label = single(tracer, replace(x, labels=tuple(labels)), channel)
    labels = [other for other in labels if other.ids.shape[channel] == 1]
    if label is not None:
        rows = label.ids.reshape(*label.ids.shape[:channel], -1, square, 1, 1)
        tracer.unite(rows, rows[..., :1, :, :])
        if rows.shape[-4] == 1:
            tracer.lock(rows, "a single unit would be the whole dimension")
        else:
            labels.append(Label(rows[..., 0, :, :], label.zero))
    return replace(call.output, labels=tuple(labels))


@rule("aten::pixel_unshuffle")
def pixel_unshuffle(tracer: Tracer, call: Call) -> Value:
    """Pixels become channels: the r * r channels that one channel becomes are one unit.

    Exact because all channels that one channel becomes stay or go together.
    """
    x, square = call.input, int(call["downscale_factor"]) ** 2
    labels = lock_along(tracer, x, (x.ndim - 2, x.ndim - 1), f"{call.name} runs over this dimension")
    channel = x.ndim - 3
    return moved(call, lambda ids: ids.repeat(square, channel) if ids.shape[channel] > 1 else ids, labels)


@rule("aten::channel_shuffle", "aten::native_channel_shuffle")
def channel_shuffle(tracer: Tracer, call: Call) -> Value:
    """Channels (groups, c) become (c, groups); a unit is one position in every group.

    Exact because all groups stay equally long, so that the shuffle is the same on what stays.
    """
    x, groups = call.input, int(call["groups"])
    shape = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    labels = []
    for label in x.labels:
        split = reshape(tracer, label, x.shape, shape)
        if split is not None:
            merged = (x.shape[0], shape[2], groups, *x.shape[2:])
            joined = reshape(tracer, Label(split.ids.swapaxes(1, 2), split.zero), merged, x.shape)
            labels += [] if joined is None else [joined]
    return replace(call.output, labels=tuple(labels))


@rule("python::reorder")
def reorder(tracer: Tracer, call: Call) -> Value:
    """A shuffle in a graph to be rewritten: a list of positions along one dimension, which keep their units.

    Exact because the rewritten graph lists, in the dense network's order, the positions that stay; so the
    parts of a shuffle need not stay equally long.
    """
    dim, order = int(call["dim"]), call["order"]
    tracer.note(call.input.along(dim), _SHUFFLED)
    labels = []
    for label in call.input.labels:
        if len(set(order)) < call.input.shape[dim] and dim in label.dims:
            if len(label.dims) > 1:
                label = tracer.forbid(label, (dim,), _SOME) or label
            else:
                tracer.keep_one(label.ids.ravel()[order], _SOME)
        labels.append(label)
    return moved(call, lambda ids: ids.take(order, dim) if ids.shape[dim] > 1 else ids, labels)


@rule("aten::im2col")
def im2col(tracer: Tracer, call: Call) -> Value:
    """Patches: the kernel positions of one channel lie side by side.

    Exact because patches are taken channel by channel.
    """
    x, kernel = call.input, int(np.prod(call["kernel_size"]))
    labels = lock_along(tracer, x, (x.ndim - 2, x.ndim - 1), f"{call.name} runs over this dimension")
    channel = x.ndim - 3
    return moved(
        call, lambda ids: (ids.repeat(kernel, channel) if ids.shape[channel] > 1 else ids)[..., 0], labels
    )


@rule("aten::col2im")
def col2im(tracer: Tracer, call: Call) -> Value:
    """Patches added up: all kernel positions of one channel are one unit.

    Exact because patches are added up channel by channel.
    """
    x, kernel = call.input, int(np.prod(call["kernel_size"]))
    labels = list(lock_along(tracer, x, (x.ndim - 1,), f"{call.name} runs over this dimension"))
    channel = x.ndim - 2
    label = single(tracer, replace(x, labels=tuple(labels)), channel)
    labels = [Label(other.ids[..., None], other.zero) for other in labels if other.ids.shape[channel] == 1]
    if label is not None:
        rows = label.ids.reshape(*label.ids.shape[:channel], -1, kernel, 1)
        tracer.unite(rows, rows[..., :1, :])
        labels.append(Label(rows[..., :1, :], label.zero))
    return replace(call.output, labels=tuple(labels))


@rule("aten::unfold")
def unfold(tracer: Tracer, call: Call) -> Value:
    """Windows along one dimension: locked there, others pass.

    Exact because along the other dimensions every slice is cut by itself.
    """
    x = call.input
    labels = lock_along(tracer, x, (int(call["dimension"]) % x.ndim,), "cut into windows")
    return moved(call, lambda ids: ids[..., None], labels)


@rule("aten::tril", "aten::triu")
def triangle(tracer: Tracer, call: Call) -> Value:
    """Zeros above or below a diagonal: locked along the last two dimensions, others pass.

    Exact because along the other dimensions every matrix is handled by itself.
    """
    x = call.input
    labels = lock_along(tracer, x, (x.ndim - 2, x.ndim - 1), f"{call.name} over these positions", keep=True)
    return replace(call.output, labels=labels)


@rule("aten::index", "aten::_unsafe_index")
def index(tracer: Tracer, call: Call) -> Any:
    """Looked up by index tensors: locked along the indexed dimensions, others pass.

    Exact because along the other dimensions every slice is looked up by itself.
    """
    x, out = call.input, call.output
    indices = list(call["indices"])
    if any(i is not None and i.labels for i in indices):
        return NotImplemented
    at = [d for d, i in enumerate(indices) if i is not None]
    if any(indices[d].dtype is not None and not _is_integer(indices[d]) for d in at):
        return NotImplemented
    labels = lock_along(tracer, x, at, "looked up by index")
    rest = [d for d in range(x.ndim) if d not in at]
    width = out.ndim - len(rest)
    front = at[0] if at and at == list(range(at[0], at[-1] + 1)) else 0
    before = [d for d in rest if d < front]
    result = []
    for label in labels:
        sizes = [label.ids.shape[d] for d in rest]
        shape = sizes[: len(before)] + [1] * width + sizes[len(before) :]
        result.append(Label(label.ids.reshape(shape), label.zero))
    return replace(out, labels=tuple(result))


def _is_integer(value: Value) -> bool:
    return not value.dtype.is_floating_point and str(value.dtype) != "torch.bool"


@rule("aten::index_select", "aten::gather", "aten::take_along_dim")
def index_select(tracer: Tracer, call: Call) -> Any:
    """Looked up along one dimension: locked there; others pass if the index is one-dimensional.

    Exact because along the other dimensions every slice is looked up by itself.
    """
    x = call.input
    if call.name != "aten::index_select" or call["index"].labels:
        return NotImplemented
    labels = lock_along(tracer, x, (int(call["dim"]) % x.ndim,), "looked up by index")
    return replace(call.output, labels=labels)


@rule("aten::new_zeros", "aten::new_ones", "aten::new_full", "aten::new_empty")
def new(tracer: Tracer, call: Call) -> Value:
    """A new tensor of constant size; the operand only lends its type and device.

    Exact because the result does not depend on the operand's elements; whatever meets it is locked.
    """
    return replace(call.output, origin="a tensor of constant size")


@rule(
    "aten::_assert_tensor_metadata", "aten::sym_size", "aten::sym_numel", "aten::_assert_async", "aten::size"
)
def look(tracer: Tracer, call: Call) -> object:
    """Looks at the operand's type or size only.

    Exact because nothing of the operand's elements goes into the result.
    """
    return call.result


@rule("aten::pad", "aten::constant_pad_nd", "aten::reflection_pad1d", "aten::reflection_pad2d")
@rule(
    "aten::replication_pad1d", "aten::replication_pad2d", "aten::replication_pad3d", "aten::reflection_pad3d"
)
def pad(tracer: Tracer, call: Call) -> Value:
    """Unlabeled dimensions may be padded; a labeled one is locked, as nothing produces what is added.

    Exact because padding other dimensions leaves every channel by itself.
    """
    x = call.input
    amounts = list(call.get("pad", call.get("padding")))
    padded = {x.ndim - 1 - i // 2 for i, amount in enumerate(amounts) if amount}
    labels = lock_along(tracer, x, padded, "padded with a constant along the channels")
    fill = call.get("value") or 0
    out = replace(call.output, labels=labels if fill == 0 else drop_zeros(labels))
    lost = any(set(label.dims) & padded for label in x.labels)
    return replace(out, origin="a shortcut that is padded with constant channels" if lost else describe(x))
