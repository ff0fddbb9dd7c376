"""What must hold of the arguments before any work is spent on them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.budget import Budget
from autoprune.data import Splits, tensor_bytes
from autoprune.errors import ArgumentError, AutopruneError, DataError, ModelError
from autoprune.graph.export import split_inputs
from autoprune.train import inference


def check_model(model: nn.Module) -> None:
    """Refuse what is not a network, or one whose weights are not finite.

    Raises:
        ArgumentError: Not an `nn.Module`.
        ModelError: A parameter or buffer holds NaN or infinity; the message names the first.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for name, tensor in tensors_of(model).items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"the model's weights must be finite, but '{name}' holds NaN or infinity; train it again"
            )


def check_runs(
    model: nn.Module, inputs: Any, name: str = "example_inputs", kind: type[AutopruneError] = ArgumentError
) -> None:
    """Refuse inputs that the model does not take, and a model whose outputs on them are not finite.

    Args:
        model: The network; its modes are restored.
        inputs: A tensor, a tuple of arguments or a dict of keyword arguments.
        name: What to call the inputs in an error.
        kind: Class of the error if the forward pass fails.

    Raises:
        ArgumentError: The forward pass fails (or another error, see `kind`).
        ModelError: An output holds NaN or infinity.
    """
    args, kwargs = split_inputs(inputs)
    try:
        with inference(model):
            outputs = pytree.tree_leaves(model(*args, **kwargs))
    except Exception as error:  # a forward may raise anything
        raise kind(
            f"{name} must be inputs that the model takes, got {shapes(inputs)}: "
            f"its forward pass raises {type(error).__name__}: {error}"
        ) from error
    for tensor in outputs:
        if (
            isinstance(tensor, Tensor)
            and tensor.is_floating_point()
            and not bool(torch.isfinite(tensor).all())
        ):
            raise ModelError(f"the model's outputs on {name} must be finite, got NaN or infinity")


def check_data(data: Any) -> Splits:
    """Refuse data without the two loaders that a search reads.

    Raises:
        DataError: An attribute is missing.
    """
    missing = [name for name in ("train", "search_val") if getattr(data, name, None) is None]
    if missing:
        raise DataError(
            f"data must have the loaders train and search_val (an autoprune.DataSplits, for example), "
            f"got {type(data).__name__} without {' and '.join(missing)}"
        )
    return data  # type: ignore[no-any-return]


def parsed_budget(budget: "str | Budget") -> Budget:
    """The budget as an object.

    Raises:
        BudgetError: The text does not parse.
        ArgumentError: Neither a text nor a `Budget`.
    """
    if isinstance(budget, Budget):
        return budget
    if not isinstance(budget, str):
        raise ArgumentError(
            f"budget must be a text such as 'macs=50%' or a Budget, got {type(budget).__name__}"
        )
    return Budget.parse(budget)


def shapes(inputs: Any) -> str:
    """The shapes of all tensors among inputs, for messages."""
    found = [str(tuple(t.shape)) for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)]
    return f"shape {found[0]}" if len(found) == 1 else f"shapes {', '.join(found)}"


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by its first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def digest_of_inputs(inputs: Any) -> str:
    """SHA-256 over all tensors among inputs, in order."""
    tensors = [t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)]
    return digest_of({str(number): tensor for number, tensor in enumerate(tensors)})


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
