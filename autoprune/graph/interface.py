"""How a pruned graph is called: the inputs that were traced, and others of the same form."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ArgumentError
from autoprune.graph.export import split_inputs


@dataclass(frozen=True, eq=False)
class Interface:
    """The inputs and outputs of an exported graph.

    Attributes:
        specs: Structure of (args, kwargs) and of the result, as `torch.utils._pytree` describes them.
        names: Names of `forward`'s positional parameters.
        optional: Those of its parameters that are None by default; passing None there changes nothing.
        shapes: Shape of every flat input; None where it is no tensor.
        batch: Size of dimension 0 that the batch of the trace has; None if no input has a dimension.
        any_batch: Whether dimension 0 of the inputs that have that size may have any other.
    """

    specs: Sequence[Any]
    names: tuple[str, ...]
    optional: frozenset[str]
    shapes: tuple[tuple[int, ...] | None, ...]
    batch: int | None = None
    any_batch: bool = False

    def flat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The inputs in the order of the graph's placeholders, contiguous.

        Raises:
            ArgumentError: They are not of the structure or the shapes that were traced.
        """
        inputs, spec = pytree.tree_flatten((args, dict(kwargs)))
        if spec != self.specs[0]:
            inputs, spec = pytree.tree_flatten(self._arranged(args, kwargs))
        if spec != self.specs[0]:
            raise ArgumentError(
                f"the inputs must have the structure that was traced, {self.specs[0]}, got {spec}"
            )
        self._check_shapes(inputs)
        return [value.contiguous() if isinstance(value, Tensor) else value for value in inputs]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Interface":
        return self

    def batch_of(self, inputs: Sequence[Any]) -> int:
        """The size of the batch in flat inputs; 0 if nothing has one."""
        return next((value.shape[0] for value in inputs if isinstance(value, Tensor) and value.ndim), 0)

    def _arranged(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The same arguments, positional and by name as in the trace, without those that are not given."""
        named = dict(zip(self.names, args, strict=False)) | dict(kwargs)
        named = {key: value for key, value in named.items() if value is not None or key not in self.optional}
        positional, by_name = self.specs[0].children()
        first = self.names[: positional.num_children]
        names = (*first, *by_name.context)
        if len(args) > len(self.names) or set(names) != set(named):
            return args, dict(kwargs)
        return tuple(named[name] for name in first), {name: named[name] for name in by_name.context}

    def _check_shapes(self, inputs: Sequence[Any]) -> None:
        batch = self.batch_of(inputs) if self.any_batch else self.batch
        for number, (value, shape) in enumerate(zip(inputs, self.shapes, strict=True)):
            if not isinstance(value, Tensor) or shape is None:
                continue
            wanted = (batch, *shape[1:]) if shape and shape[0] == self.batch else shape
            if tuple(value.shape) != wanted:
                free = "any batch size" if self.any_batch else "the batch size of the trace"
                raise ArgumentError(
                    f"input {number} must have the shape {wanted}, as traced ({free}), got "
                    f"{tuple(value.shape)}; the pruned network is an exported graph and fits no other"
                )


def interface_of(
    model: nn.Module, example_inputs: Any, specs: Sequence[Any], *, any_batch: bool
) -> Interface:
    """The interface of a model that was exported with these inputs."""
    args, kwargs = split_inputs(example_inputs)
    leaves = pytree.tree_leaves((args, kwargs))
    parameters = inspect.signature(model.forward).parameters.values()
    return Interface(
        specs=tuple(specs),
        names=tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD),
        optional=frozenset(p.name for p in parameters if p.default is None),
        shapes=tuple(tuple(leaf.shape) if isinstance(leaf, Tensor) else None for leaf in leaves),
        batch=batch_size(example_inputs),
        any_batch=any_batch,
    )


def batch_size(example_inputs: Any) -> int | None:
    """Size of dimension 0 of the first tensor that has dimensions; None if there is none."""
    leaves = pytree.tree_leaves(split_inputs(example_inputs))
    return next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), None)


def grown(example_inputs: Any, by: int) -> Any:
    """The same inputs with a larger batch, if they have one; see `with_batch`."""
    size = batch_size(example_inputs)
    return with_batch(example_inputs, size + by) if size else example_inputs


def with_batch(example_inputs: Any, size: int) -> Any:
    """The same inputs with another batch: the first rows of every tensor that shares it, repeated."""
    own = batch_size(example_inputs)

    def resized(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == own:
            return value[torch.arange(size, device=value.device) % len(value)]
        return value

    return pytree.tree_map(resized, example_inputs)
