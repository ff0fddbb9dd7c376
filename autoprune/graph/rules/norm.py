"""Normalizations: exact where the statistics stay inside a channel, else inexact."""

from dataclasses import replace
from typing import Any

from autoprune.graph.call import Call
from autoprune.graph.channels import attach, drop_zeros, flat, lock_along, shaped, single
from autoprune.graph.registry import rule
from autoprune.graph.tracer import Tracer
from autoprune.graph.values import Label, Value


@rule(
    "aten::batch_norm",
    "aten::native_batch_norm",
    "aten::_native_batch_norm_legit_no_training",
    "aten::_native_batch_norm_legit",
    "aten::instance_norm",
    "aten::cudnn_batch_norm",
)
def per_channel_norm(tracer: Tracer, call: Call) -> Any:
    """Batch and instance normalization: statistics, scale and shift of dimension 1 go with the channel.

    Exact because the statistics of a channel do not depend on the other channels.
    """
    x = call["input"]
    others = tuple(label for label in x.labels if label.ids.shape[1] == 1)
    if call.get("training", call.get("use_input_stats", False)):
        others = lock_along(
            tracer, replace(x, labels=others), range(x.ndim), f"{call.name} runs over this dimension"
        )
    label = single(tracer, x, 1)
    ids = flat(label)
    scaled = attach(tracer, ids, call["weight"], "scale")
    shifted = attach(tracer, ids, call["bias"], "shift")
    centered = attach(tracer, ids, call.get("running_mean"), "running mean")
    attach(tracer, ids, call.get("running_var"), "running variance")
    labels = drop_zeros(others)
    if label is not None and ids is not None:
        nulled = (call["weight"] is not None and scaled) or (label.zero and centered)
        labels += (Label(shaped(ids, 1, x.ndim), shifted and nulled),)
    return _first(call, labels)


@rule("aten::layer_norm", "aten::native_layer_norm", "aten::rms_norm", "aten::_fused_rms_norm")
def layer_norm(tracer: Tracer, call: Call) -> Any:
    """Layer and RMS normalization: inexact along the normalized dimensions, all others pass.

    Inexact because removing a channel changes the statistics of those that stay; along the other dimensions
    exact, because every position is normalized by itself.
    """
    x = call["input"]
    start = x.ndim - len(call["normalized_shape"])
    inside = range(start, x.ndim)
    passing = tuple(_leave(tracer, label, inside, call.name) for label in x.labels)
    vectors = [v for v in (call.get("weight"), call.get("bias")) if v is not None]
    shifted = call.get("bias") is not None
    labels = [Label(o.ids, o.zero and not shifted) for o in passing if not set(o.dims) & set(inside)]
    for dim in inside:
        label = next((label for label in passing if label.dims == (dim,)), None)
        zero = [_attach_along(tracer, label, vector, dim - start) for vector in vectors]
        if label is not None:
            labels.append(Label(label.ids, all(zero) and (label.zero or bool(vectors))))
    return _first(call, tuple(labels))


def _leave(tracer: Tracer, label: Label, inside: range, name: str) -> Label:
    """Units outside of the normalized dimensions if possible, else inexact."""
    within = [d for d in label.dims if d in inside]
    if len(within) < len(label.dims):
        for d in within:
            label = tracer.tie(label, d)
    else:
        tracer.inexact(label, f"{name.removeprefix('aten::')} normalizes over these channels")
    return label


def _attach_along(tracer: Tracer, label: Label | None, vector: Value, dim: int) -> bool:
    """Unite dimension `dim` of a scale or shift with the normalized channels."""
    found = single(tracer, vector, dim)
    if label is None or found is None:
        if found is not None:
            tracer.lock(found, "scale or shift of positions that are not pruned")
        return False
    tracer.unite(label.ids.ravel(), found.ids.ravel())
    return found.zero


@rule("aten::group_norm", "aten::native_group_norm")
def group_norm(tracer: Tracer, call: Call) -> Any:
    """Group normalization: a unit is a whole normalization group, so that the groups that stay are unchanged.

    With a single group it is inexact, as layer normalization.
    """
    x = call["input"]
    groups = int(call.get("num_groups", call.get("group")))
    passing = lock_along(tracer, x, range(2, x.ndim), f"{call.name} runs over this dimension")
    x = replace(x, labels=passing)
    label = single(tracer, x, 1)
    ids = flat(label)
    if ids is not None:
        if groups == 1:
            tracer.inexact(ids, "group_norm with one group normalizes over these channels")
        elif groups < ids.size:
            rows = ids.reshape(groups, -1)
            tracer.unite(rows, rows[:, :1])
            tracer.note(ids, "pruned in whole groups of a group normalization")
    scaled = attach(tracer, ids, call["weight"], "scale")
    shifted = attach(tracer, ids, call["bias"], "shift")
    labels = drop_zeros(label for label in passing if label.ids.shape[1] == 1)
    if label is not None and ids is not None:
        nulled = scaled if call["weight"] is not None else label.zero
        labels += (Label(shaped(ids, 1, x.ndim), nulled and shifted),)
    return _first(call, labels)


def _first(call: Call, labels: tuple[Label, ...]) -> Any:
    """Labels for the first result; the statistics that native variants also return stay unlabeled."""
    result = call.result
    if isinstance(result, Value):
        return replace(result, labels=labels)
    return type(result)(replace(r, labels=labels) if i == 0 else r for i, r in enumerate(result))
