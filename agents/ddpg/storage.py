"""Networks and optimizers as flat dicts of tensors and JSON values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Any]


def nested(state: Mapping[str, Any], prefix: str) -> State:
    """The entries below a prefix, without it."""
    return {
        key.removeprefix(f"{prefix}."): value for key, value in state.items() if key.startswith(f"{prefix}.")
    }


def prefixed(state: Mapping[str, Any], prefix: str) -> State:
    """The entries with a prefix before their names."""
    return {f"{prefix}.{key}": value for key, value in state.items()}


def module_state(module: nn.Module) -> State:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def optimizer_state(optimizer: Optimizer) -> State:
    """A copy of the moments and step counts by position of the parameter; learning rates are settings."""
    entries = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": torch.as_tensor(value).clone()
        for i, entry in entries.items()
        for key, value in entry.items()
    }


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Continue from `optimizer_state`."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        position, key = name.split(".", 1)
        entries.setdefault(int(position), {})[key] = value.clone()
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
