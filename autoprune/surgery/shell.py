"""A structural copy of a network: its own modules and tensor objects, but no copied weights."""

import logging
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.surgery.tensors import Held

logger = logging.getLogger(__name__)


def empty_copy(model: nn.Module, held: dict[str, Held]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Copy all that a network is except the content of its parameters and buffers.

    Every module keeps its class, attributes, hooks and mode. References among modules, and to parameters and
    buffers, point into the copy wherever they are (lists, bound methods, hooks, ties). An attribute that
    cannot be copied (a lock, an open file, a tensor that carries gradient history) is shared with the model.

    Args:
        model: The network; untouched.
        held: Its `held_tensors`.

    Returns:
        The copy, and by name its still empty parameters and buffers, whose `.data` is to be set.
    """
    with torch.inference_mode(False), torch.no_grad():
        empty = {name: _placeholder(entry.tensor) for name, entry in held.items()}
    memo: dict[int, Any] = {id(entry.tensor): empty[name] for name, entry in held.items()}
    copies = []
    for path, module in model.named_modules():
        # Not through the class's own __new__ or __deepcopy__, which may copy weights or change the class.
        memo[id(module)] = copy = object.__new__(type(module))
        copies.append((path, module, copy))
    for path, module, copy in copies:
        for key, value in vars(module).items():
            if key != "_compiled_call_impl":  # as in nn.Module's own pickling: compiled for the dense shapes
                copy.__dict__[key] = _copied(value, memo, f"{path}.{key}" if path else key)
    return memo[id(model)], empty


def _copied(value: Any, memo: dict[int, Any], name: str) -> Any:
    try:
        return deepcopy(value, memo)
    except Exception as error:
        logger.info(
            "the attribute '%s' cannot be copied and stays shared with the dense model: %s", name, error
        )
        return value


def _placeholder(tensor: Tensor) -> Tensor:
    """An empty tensor of the same class, type, device, `requires_grad` and user attributes."""
    data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    if isinstance(tensor, nn.Parameter) or type(tensor) is not Tensor:
        empty = Tensor._make_subclass(type(tensor), data, tensor.requires_grad)
    else:
        empty = data.requires_grad_(tensor.requires_grad)
    empty.__dict__.update(tensor.__dict__)
    return empty
