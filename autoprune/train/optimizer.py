"""The state of any torch optimizer as tensors and JSON values, and back, exactly."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from autoprune.errors import RunError


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What the optimizer knows of every parameter (`{index}.{name}`), and the numbers of its groups.

    Raises:
        RunError: It keeps something that is neither tensor nor JSON.
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    entries = [(f"{i}.{key}", value) for i, own in whole["state"].items() for key, value in own.items()]
    for number, group in enumerate(whole["param_groups"]):
        entries += [(f"group{number}.{k}", v) for k, v in group.items() if k != "params" and _plain(v)]
    for name, value in entries:
        if isinstance(value, Tensor):
            tensors[name] = value
        else:
            values[name] = _json(name, value)
    return tensors, values


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Put back what `optimizer_state` gave into a new optimizer of the same parameters."""
    whole = optimizer.state_dict()
    whole["state"] = {}
    for name, value in {**tensors, **values}.items():
        owner, _, key = name.partition(".")
        if owner.startswith("group"):
            whole["param_groups"][int(owner.removeprefix("group"))][key] = value
        else:
            whole["state"].setdefault(int(owner), {})[key] = value
    optimizer.load_state_dict(whole)


def _plain(value: Any) -> bool:
    """A setting that may change while training; all others are as the user's callable makes them."""
    return isinstance(value, Tensor | float | int) and not isinstance(value, bool)


def _json(name: str, value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(
            f"the optimizer's state '{name}' must be a tensor or JSON to be saved: {error}"
        ) from error
    return value
