"""Outputs of two networks beside each other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ModelError
from autoprune.graph.export import split_inputs

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Largest relative difference that is rounding, by type of the weights."""

COARSE = 0.05
"""The same for types with fewer digits."""


def cast(inputs: Any, dtype: torch.dtype) -> Any:
    """The same inputs, floating-point tensors in another type."""
    return pytree.tree_map(
        lambda t: t.to(dtype) if isinstance(t, Tensor) and t.is_floating_point() else t, inputs
    )


def varied(inputs: Any, generator: torch.Generator) -> Any:
    """The same inputs with noise instead of constant floating-point tensors, which would hide much."""

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() < 2:
            return value
        if bool((value != value.flatten()[0]).any()):
            return value
        return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)

    return pytree.tree_map(one, inputs)


def call(model: nn.Module, example_inputs: Any) -> Any:
    """Run a network on inputs as `trace` takes them."""
    args, kwargs = split_inputs(example_inputs)
    return model(*args, **kwargs)


@torch.no_grad()
def outputs(model: nn.Module, example_inputs: Any) -> list[Tensor]:
    """All tensors that a forward pass returns, as copies.

    Raises:
        ModelError: There is none.
    """
    result = call(model, example_inputs)
    found = [leaf.detach().clone() for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    if not found:
        raise ModelError(f"the model must return tensors, got {type(result).__name__}")
    return found


def relative(expected: Sequence[Tensor], found: Sequence[Tensor], scale: Sequence[Tensor]) -> float:
    """Largest absolute difference over all outputs, by the largest absolute value in `scale`.

    Raises:
        ModelError: The outputs have other shapes, or are not finite.
    """
    shapes = [tuple(t.shape) for t in expected], [tuple(t.shape) for t in found]
    if shapes[0] != shapes[1]:
        raise ModelError(f"the pruned network must give outputs of shapes {shapes[0]}, got {shapes[1]}")
    largest = max(_size(t) for t in scale)
    difference = max(_size(a.double() - b.double()) for a, b in zip(expected, found, strict=True))
    if not all(bool(torch.isfinite(t).all()) for t in (*expected, *found)):
        raise ModelError(
            "the outputs on example_inputs must be finite, got NaN or infinity; check weights and inputs"
        )
    return difference / max(largest, torch.finfo(torch.float64).tiny)


def devices_of(model: nn.Module) -> list[torch.device]:
    """The devices whose random state a forward pass may use, beside the CPU."""
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})


def dtype_of(model: nn.Module) -> torch.dtype:
    """The floating-point type of a network's first parameter."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _size(tensor: Tensor) -> float:
    return float(tensor.double().abs().max()) if tensor.numel() else 0.0
