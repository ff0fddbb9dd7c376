"""Where a network's parameters and buffers live: one entry per tensor, however many names it has."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from autoprune.errors import ModelError
from autoprune.graph.export import unwrap

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Held:
    """One parameter or buffer and everyone who holds it.

    Attributes:
        name: The first name that a walk over the modules gives it, as in `state_dict`.
        tensor: The tensor.
        persistent: Whether `state_dict` contains it.
        holders: (module path, attribute) of every holder, the first one gives the name. A module that is
            reachable under several paths appears once, under its first path.
    """

    name: str
    tensor: Tensor
    persistent: bool
    holders: tuple[tuple[str, str], ...]


def held_tensors(model: nn.Module) -> dict[str, Held]:
    """All parameters and buffers by name, in `state_dict` order, non-persistent buffers included.

    Raises:
        ModelError: A parameter of a lazy module has no shape yet.
    """
    names: dict[int, str] = {}
    found: dict[str, tuple[Tensor, bool, list[tuple[str, str]]]] = {}
    for path, module in model.named_modules():
        hidden = module._non_persistent_buffers_set
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            name = f"{path}.{key}" if path else key
            if nn.parameter.is_lazy(tensor):
                raise ModelError(
                    f"the parameter '{name}' has no shape yet; run the model once on an example first"
                )
            first = names.setdefault(id(tensor), name)
            found.setdefault(first, (tensor, key not in hidden, []))[2].append((path, key))
    return {name: Held(name, tensor, kept, tuple(at)) for name, (tensor, kept, at) in found.items()}


def fingerprint(model: nn.Module) -> dict[str, Shape]:
    """Names and shapes of what `state_dict` holds, in order; a shared tensor only under its first name.

    Listing shared tensors once makes a plan for tied weights refuse a network in which they are not tied.
    """
    return {
        name: tuple(held.tensor.shape)
        for name, held in held_tensors(unwrap(model)).items()
        if held.persistent
    }


def state_shapes(model: nn.Module) -> dict[str, Shape]:
    """Names and shapes in `state_dict`, shared tensors under every name, as in `PruneGraph.fingerprint`."""
    state = unwrap(model).state_dict(keep_vars=True)
    return {name: tuple(tensor.shape) for name, tensor in state.items() if isinstance(tensor, Tensor)}


def first_difference(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """The first tensor in which `found` differs from `expected`, in words; empty if there is none."""
    for name, shape in expected.items():
        if name not in found:
            return f"it has no tensor '{name}' of shape {tuple(shape)}"
        if tuple(found[name]) != tuple(shape):
            return f"its tensor '{name}' has shape {tuple(found[name])} instead of {tuple(shape)}"
    for name, shape in found.items():
        if name not in expected:
            return f"it has a tensor '{name}' of shape {tuple(shape)} too many"
    return ""
