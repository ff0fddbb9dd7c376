"""Arguments of ops as JSON, and what differs between two versions of them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from autoprune.errors import ModelError
from autoprune.latency.linear import Linear


def encoded(item: Any, names: Mapping[fx.Node, str]) -> Any:
    """An argument as JSON; nodes as `{"node": name}` with the name that `names` gives.

    A node without a name is the placeholder of the mode that a rewritten graph has: False, evaluation.

    Raises:
        ModelError: An argument has no such form.
    """
    if isinstance(item, fx.Node):
        return {"node": names[item]} if item in names else False
    if isinstance(item, float) and not math.isfinite(item):
        return {"float": str(item)}
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, dict):
        return {str(key): encoded(value, names) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [encoded(value, names) for value in item]
    if isinstance(item, torch.device):
        return {"device": item.type}
    if isinstance(item, torch.dtype | torch.layout | torch.memory_format):
        return {type(item).__name__: str(item).removeprefix("torch.")}
    raise ModelError(f"the latency cannot be tabulated: an op has an argument of type {type(item).__name__}")


def decoded(item: Any, operands: Any, results: Any, device: str) -> Any:
    """What `encoded` (with references by number) stands for."""
    if isinstance(item, dict):
        if len(item) == 1:
            ((kind, value),) = item.items()
            if kind in ("in", "op"):
                return (operands if kind == "in" else results)[value]
            if kind == "float":
                return float(value)
            if kind == "device":
                return torch.device(device)
            if kind in ("dtype", "layout", "memory_format"):
                return getattr(torch, value)
        return {key: decoded(value, operands, results, device) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [decoded(value, operands, results, device) for value in item]
    return item


def merged(dense: Any, probes: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    """`dense` with every integer that a probe changes as a `Linear` number.

    Args:
        dense: Encoded arguments of the dense network.
        probes: The same with one unit less, by group.
        sizes: Dense width by group.
    """
    changed = {group: probe for group, probe in probes.items() if probe != dense}
    if not changed:
        return dense
    if isinstance(dense, dict):
        return {
            key: merged(value, {g: p[key] for g, p in changed.items()}, sizes) for key, value in dense.items()
        }
    if isinstance(dense, list):
        return [merged(value, {g: p[i] for g, p in changed.items()}, sizes) for i, value in enumerate(dense)]
    parts = {group: dense - probe for group, probe in changed.items()}
    return Linear(dense - sum(k * sizes[group] for group, k in parts.items()), parts)
