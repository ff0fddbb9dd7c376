"""Example inputs without their values: what a network of the form "graph" is exported with again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import PlanError

_NUMBERS = bool | int | float | str | None


def describe_inputs(example_inputs: Any, weights: torch.dtype) -> Any:
    """Inputs as JSON: structure, shapes and types, no values of tensors.

    Args:
        example_inputs: As for `trace`.
        weights: The model's type. Tensors of this type get the type "model", so that the plan serves a copy
            of the model in another type too.

    Returns:
        Tensors as `{"shape": [...], "dtype": "int64"}`, containers as `{"tuple": [...]}`, `{"list": [...]}`,
        `{"dict": {...}}`, other values as `{"value": ...}`; None if something in there is none of these.
    """
    try:
        return _described(example_inputs, weights)
    except TypeError:
        return None


def make_inputs(described: Any, device: torch.device, weights: torch.dtype) -> Any:
    """Zeros of the structure that `describe_inputs` wrote down.

    Raises:
        PlanError: It is damaged.
    """
    if not isinstance(described, Mapping):
        raise PlanError(f"the plan's inputs are damaged: {described!r:.60} describes no input")
    keys = set(described)
    if keys == {"shape", "dtype"}:
        return _zeros(described, device, weights)
    if keys == {"value"} and isinstance(described["value"], _NUMBERS):
        return described["value"]
    if keys == {"dict"} and isinstance(described["dict"], Mapping):
        return {key: make_inputs(value, device, weights) for key, value in described["dict"].items()}
    for name, kind in (("tuple", tuple), ("list", list)):
        if keys == {name} and isinstance(described[name], list):
            return kind(make_inputs(value, device, weights) for value in described[name])
    raise PlanError(f"the plan's inputs are damaged: {dict(described)!r:.60} describes no input")


def _described(value: Any, weights: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        dtype = "model" if value.dtype == weights else str(value.dtype).removeprefix("torch.")
        return {"shape": list(value.shape), "dtype": dtype}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _described(one, weights) for key, one in value.items()}}
    for name, kind in (("tuple", tuple), ("list", list)):
        if type(value) is kind:
            return {name: [_described(one, weights) for one in value]}
    if isinstance(value, _NUMBERS):
        return {"value": value}
    raise TypeError(type(value).__name__)


def _zeros(described: Mapping[str, Any], device: torch.device, weights: torch.dtype) -> Tensor:
    shape, dtype = described["shape"], getattr(torch, str(described["dtype"]), None)
    dtype = weights if described["dtype"] == "model" else dtype
    if not isinstance(dtype, torch.dtype) or not isinstance(shape, list):
        raise PlanError(f"the plan's inputs are damaged: {dict(described)!r:.60} describes no tensor")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise PlanError(f"the plan's inputs are damaged: {shape!r:.60} is no shape")
    return torch.zeros(shape, dtype=dtype, device=device)
