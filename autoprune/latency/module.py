"""A layer without variables as a network that can be run."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, fx, nn

from autoprune.errors import ArgumentError
from autoprune.latency.encode import decoded
from autoprune.latency.template import Template

_REFUSED = ("from_file", "save", "load")


def network_of(layer: Template, device: str = "cpu") -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A module that runs the layer, in evaluation mode, and its inputs.

    Args:
        layer: Without variables (see `Template.at`).
        device: Where its tensors are.

    Returns:
        The module, which holds weights of positive random numbers (times do not depend on them), and inputs.

    Raises:
        ArgumentError: An op that this PyTorch does not have, or that is no tensor computation.
    """
    generator = torch.Generator().manual_seed(0)
    root = nn.Module()
    graph = fx.Graph()
    tensors = [_tensor(o.shape, getattr(torch, o.dtype), generator).to(device) for o in layer.operands]
    places: dict[int, fx.Node] = {}
    for i in sorted(range(len(tensors)), key=lambda i: layer.operands[i].weight):  # inputs come first
        if layer.operands[i].weight:
            root.register_buffer(f"w{i}", tensors[i])
        places[i] = graph.get_attr(f"w{i}") if layer.operands[i].weight else graph.placeholder(f"x{i}")
    operands = [places[i] for i in range(len(tensors))]
    results: list[fx.Node] = []
    for op in layer.ops:
        args, kwargs = (decoded(part, operands, results, device) for part in (list(op.args), op.kwargs))
        results.append(graph.call_function(function_of(op.name), tuple(args), kwargs))
    graph.output(tuple(results[i] for i in layer.outputs))
    return fx.GraphModule(root, graph).eval(), tuple(
        tensor for tensor, operand in zip(tensors, layer.operands, strict=True) if not operand.weight
    )


def function_of(name: str) -> Callable[..., Any]:
    """The op of that name.

    Raises:
        ArgumentError: There is none, or it does more than compute.
    """
    if name == "getitem":
        return operator.getitem
    parts = name.split(".")
    found: Any = torch.ops
    if len(parts) == 3 and parts[0] == "aten" and parts[1] not in _REFUSED:
        for part in parts:
            found = getattr(found, part, None)
        if isinstance(found, torch._ops.OpOverload):
            return found
    raise ArgumentError(f"a layer must be made of ATen ops that this PyTorch has, got '{name}'")


def _tensor(sizes: Sequence[JsonValue], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    shape = [int(size) for size in sizes]  # type: ignore[arg-type]
    if dtype.is_floating_point:
        return (torch.rand(shape, generator=generator) + 0.5).to(dtype)
    return torch.zeros(shape, dtype=dtype)
