"""Measuring a pruned network against the dense one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autoprune.errors import MaskError
from autoprune.masks.store import Masks
from autoprune.masks.torch_prune import from_torch_prune
from autoprune.measures.macs import Inputs, count_macs
from autoprune.measures.report import Measured, Measures

_INDEX_BYTES = 4
_NO_PARAMETER = "(no parameter)"


class _Entry(NamedTuple):
    """One tensor on disk."""

    name: str
    parameter: bool
    elements: int
    nonzeros: int
    bytes: int
    sparse_bytes: int


def measure(
    model: nn.Module,
    example_inputs: Inputs | None = None,
    *,
    dense: nn.Module | None = None,
    masks: Masks | None = None,
) -> Measures:
    """Count what is left of a network, per layer and in total.

    Zeros are counted as they are in the parameters, whatever made them: a batch-norm shift that was never
    trained counts as zero too. Shared tensors count once. Masks of `torch.nn.utils.prune` are honored.

    Args:
        model: The pruned network, sliced or masked.
        example_inputs: A tensor, a tuple of arguments, or a mapping of keyword arguments, for the MACs (batch
            included); without them MACs and speed-up are left out.
        dense: The network before pruning. Default: `model` without its zeros, which is right for a masked
            network (the dense sizes are those of its tensors) and not for a sliced one.
        masks: Weights to count as zero although they need not be zero yet.

    Raises:
        MaskError: A mask that fits no parameter or buffer.
    """
    now = _entries(model, masks or Masks({}))
    before = now if dense is None else _entries(dense, Masks({}))
    macs = None if example_inputs is None else _counted(model, example_inputs)
    dense_macs = macs if dense is None or example_inputs is None else _counted(dense, example_inputs)
    old, new = _by_layer(before), _by_layer(now)
    layers = dict.fromkeys((*old, *new))
    rows = [_measured(name, old.get(name, []), new.get(name, []), dense_macs, macs) for name in layers]
    if (macs or {}).get("") or (dense_macs or {}).get(""):
        rows.append(_without_parameter(dense_macs or {}, macs or {}))
    return Measures(tuple(rows))


def _by_layer(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    layers: dict[str, list[_Entry]] = {}
    for entry in entries:
        layers.setdefault(entry.name.rpartition(".")[0], []).append(entry)
    return layers


def _measured(
    layer: str,
    old: Sequence[_Entry],
    new: Sequence[_Entry],
    dense_macs: Mapping[str, int] | None,
    macs: Mapping[str, int] | None,
) -> Measured:
    return Measured(
        name=layer,
        dense_params=sum(e.elements for e in old if e.parameter),
        params=sum(e.elements for e in new if e.parameter),
        nonzeros=sum(e.nonzeros for e in new if e.parameter),
        dense_macs=None if dense_macs is None else sum(dense_macs.get(e.name, 0) for e in old),
        macs=None if macs is None else sum(macs.get(e.name, 0) for e in new),
        effective_macs=None if macs is None else sum(_effective(macs.get(e.name, 0), e) for e in new),
        dense_bytes=sum(e.bytes for e in old),
        bytes=sum(e.bytes for e in new),
        sparse_bytes=sum(e.sparse_bytes for e in new),
    )


def _effective(macs: int, weight: _Entry) -> int:
    """MACs x density, exact where every weight is used equally often, else rounded down."""
    return macs * weight.nonzeros // weight.elements if weight.elements else 0


def _without_parameter(dense_macs: Mapping[str, int], macs: Mapping[str, int]) -> Measured:
    before, now = dense_macs.get("", 0), macs.get("", 0)
    return Measured(_NO_PARAMETER, 0, 0, 0, before, now, now, 0, 0, 0)


def _counted(model: nn.Module, example_inputs: Inputs) -> dict[str, int]:
    held = from_torch_prune(model)
    return {_plain(name, held): count for name, count in count_macs(model, example_inputs).items()}


def _entries(model: nn.Module, masks: Masks) -> list[_Entry]:
    """Every tensor of the `state_dict` once, in order, under the first of its dense names."""
    held = from_torch_prune(model)
    masks = masks & held
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and name.removesuffix("_mask") not in held:
            names.setdefault(id(tensor), []).append(_plain(name, held))
            tensors[id(tensor)] = tensor
    if unknown := set(masks).difference(*names.values()):
        raise MaskError(
            f"masks['{min(unknown)}'] names no tensor of the model: they belong to another network"
        )
    return [_entry(names[key], tensor, masks) for key, tensor in tensors.items()]


def _plain(name: str, held: Masks) -> str:
    """The dense name of a tensor that `torch.nn.utils.prune` may hold."""
    plain = name.removesuffix("_orig")
    return plain if plain in held else name


@torch.no_grad()
def _entry(names: Sequence[str], tensor: Tensor, masks: Masks) -> _Entry:
    left = tensor.detach() != 0
    for name in names:
        if name in masks:
            left = left & _fitting(name, masks[name], tensor)
    nonzeros, width = int(left.sum()), tensor.element_size()
    size = tensor.numel() * width
    pointers = _INDEX_BYTES * (tensor.shape[0] + 1) if tensor.dim() >= 2 else 0
    csr = nonzeros * (width + _INDEX_BYTES) + pointers
    return _Entry(
        name=names[0],
        parameter=isinstance(tensor, nn.Parameter),
        elements=tensor.numel(),
        nonzeros=nonzeros,
        bytes=size,
        sparse_bytes=min(size, csr) if tensor.dim() >= 2 else size,
    )


def _fitting(name: str, mask: Tensor, tensor: Tensor) -> Tensor:
    if mask.shape != tensor.shape:
        raise MaskError(
            f"masks['{name}'] has shape {tuple(mask.shape)} but the model's tensor has "
            f"{tuple(tensor.shape)}: the masks belong to another network"
        )
    return mask.to(tensor.device)
