"""Independent references for the tracer: masked networks, sliced networks, counters."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.graph import PruneGraph
from autoprune.graph.export import split_inputs

Keep = Mapping[str, Sequence[int]]


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights, scales, shifts and running statistics in float64 under which no channel is trivial."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                continue
            normal = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            if "running_var" in name:
                tensor.copy_(normal.abs() + 0.5)
            elif tensor.ndim <= 1:
                tensor.copy_(normal * 0.3 + 0.7)
            else:
                tensor.copy_(normal * (1.4 / max(1, tensor[0].numel()) ** 0.5))
    return model.eval()


def cast(inputs: Any) -> Any:
    """The same inputs in float64."""
    return pytree.tree_map(lambda t: t.double() if t.is_floating_point() else t, inputs)


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """All tensors that a forward pass returns."""
    args, kwargs = split_inputs(inputs)
    with torch.no_grad():
        return [leaf for leaf in pytree.tree_leaves(model(*args, **kwargs)) if isinstance(leaf, Tensor)]


def difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Largest difference of two lists of outputs, relative to the largest of `a`; inf if shapes differ."""
    assert len(a) == len(b)
    if any(x.shape != y.shape for x, y in zip(a, b, strict=True)):
        return float("inf")
    found = [((x - y).abs().max() / x.abs().max()).item() for x, y in zip(a, b, strict=True)]
    return max(float("inf") if error != error else error for error in found)


def masked(model: nn.Module, graph: PruneGraph, keep: Keep) -> nn.Module:
    """A dense copy in which all members of the units that `keep` leaves out are zero."""
    model = copy.deepcopy(model)
    state = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, units in keep.items():
            group = graph.group(name)
            for unit in set(range(group.size)) - set(units):
                for member in group.members[unit]:
                    state[member.parameter].index_fill_(member.dim, torch.tensor(member.indices), 0)
    return model


def sliced(model: nn.Module, graph: PruneGraph, keep: Keep) -> nn.Module:
    """A copy of the model itself with smaller tensors; only what a forward cannot see is corrected."""
    model = copy.deepcopy(model)
    slices = graph.slices(keep)
    seen: dict[int, Tensor] = {}
    for path, module in model.named_modules():
        for store in (module._parameters, module._buffers):
            for key, tensor in list(store.items()):
                if tensor is None:
                    continue
                if id(tensor) not in seen:
                    seen[id(tensor)] = _cut(tensor, slices.get(f"{path}.{key}" if path else key, {}))
                store[key] = seen[id(tensor)]  # type: ignore[assignment]
        _correct(module)
    return model


def _cut(tensor: Tensor, dims: Mapping[int, Any]) -> Tensor:
    data = tensor.detach()
    for dim, indices in dims.items():
        data = data.index_select(dim, torch.as_tensor(indices))
    return nn.Parameter(data.clone()) if isinstance(tensor, nn.Parameter) else data.clone()


def _correct(module: nn.Module) -> None:
    if isinstance(module, nn.modules.conv._ConvNd):
        whole = module.in_channels if module.transposed else module.out_channels
        if module.groups > 1 and module.groups in (module.in_channels, module.out_channels):
            module.groups = module.groups * module.weight.shape[0] // whole
    if isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_groups = module.num_groups * module.weight.shape[0] // module.num_channels
    if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.affine:
        module.num_features = module.weight.shape[0]
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


def draw(graph: PruneGraph, generator: np.random.Generator, smallest: int = 1) -> dict[str, list[int]]:
    """Random units that stay, for every prunable group."""
    keep = {}
    for group in graph.prunable:
        width = int(generator.integers(min(smallest, group.size), group.size + 1))
        keep[group.name] = sorted(generator.choice(group.size, width, replace=False).tolist())
    return keep


def swapped(graph: PruneGraph, keep: Keep) -> dict[str, list[int]]:
    """Another choice of the same widths: in every group, one unit that stays is swapped for a removed one."""
    other = {}
    for name, units in keep.items():
        gone = sorted(set(range(graph.group(name).size)) - set(units))
        other[name] = sorted([*units[1:], gone[0]]) if gone else list(units)
    return other


def widths(keep: Keep) -> dict[str, int]:
    return {name: len(units) for name, units in keep.items()}
