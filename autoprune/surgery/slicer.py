"""The one place where smaller networks are made."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.errors import ModelError
from autoprune.graph.export import unwrap
from autoprune.graph.memory import in_order_of
from autoprune.surgery.shell import empty_copy
from autoprune.surgery.tensors import held_tensors

Slices: TypeAlias = Mapping[str, Mapping[int, Sequence[int] | NDArray[np.int64]]]
Value: TypeAlias = int | tuple[int, ...]
Changes: TypeAlias = Mapping[str, Mapping[str, Value]]


class Slicer:
    """Makes smaller copies of a network, all in the same modules.

    The structure is copied once, without weights. Every call fills it with freshly selected weights of the
    model and returns it, so that a call costs no more than the copying of what stays. What a call returns
    is valid until the next call; an independent network needs a `Slicer` of its own (as `apply` does).

    Args:
        model: The dense network. It is never changed, and read anew by every call. DataParallel and
            `torch.compile` wrappers are taken off.
        channels_last: Store weights of four dimensions in channels-last order, which lets convolutions of
            channels-last inputs run without a conversion. By default the model's own order is kept.
    """

    def __init__(self, model: nn.Module, *, channels_last: bool = False) -> None:
        model = unwrap(model)
        self._held = held_tensors(model)
        self._shell, self._empty = empty_copy(model, self._held)
        self._modules = dict(self._shell.named_modules())
        self._training = [(module, module.training) for module in self._modules.values()]
        self._dense: dict[tuple[str, str], Value] = {}
        self._channels_last = channels_last

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(
        self, slices: Slices, modules: Changes | None = None, overrides: Mapping[str, Tensor] | None = None
    ) -> nn.Module:
        """Fill the structure with what stays.

        Args:
            slices: `{tensor name: {dimension: indices that stay}}`; all else stays whole.
            modules: `{module path: {attribute: value}}`, the attributes to correct.
            overrides: Tensors to use instead of the selected ones, by name, already of the smaller shape;
                they are copied, in the type and on the device of the model's.

        Returns:
            The same modules in every call; class, hooks, `requires_grad`, type, device and mode of the model.

        Raises:
            ModelError: An override has the wrong name or shape, or a slice or attribute does not exist.
        """
        chosen = _Indices()
        overrides = overrides or {}
        for name in (*slices, *overrides):
            if name not in self._held:
                raise ModelError(f"the model has no tensor '{name}' to slice; use slices made for this model")
        for name, held in self._held.items():
            data = _selected(held.tensor.detach(), slices.get(name, {}), chosen, overrides.get(name), name)
            if self._channels_last and data.ndim == 4:
                data = data.contiguous(memory_format=torch.channels_last)
            self._fill(name, data)
        self._correct(modules or {})
        for module, training in self._training:
            module.training = training
        return self._shell

    def _fill(self, name: str, data: Tensor) -> None:
        tensor = self._empty[name]
        tensor.data = data
        tensor.grad = None
        for path, key in self._held[name].holders:
            # Rebound every time: whoever used the network before may have put other tensors in their place.
            module = self._modules[path]
            (module._parameters if key in module._parameters else module._buffers)[key] = tensor

    def _correct(self, modules: Changes) -> None:
        for (path, attribute), value in self._dense.items():
            setattr(self._modules[path], attribute, value)
        self._dense.clear()
        for path, values in modules.items():
            for attribute, value in values.items():
                module = self._modules.get(path)
                if module is None or not hasattr(module, attribute):
                    raise ModelError(f"the model has no attribute '{attribute}' at '{path}' to correct")
                self._dense[path, attribute] = getattr(module, attribute)
                setattr(module, attribute, value)


class _Indices:
    """Index tensors, made once for all the tensors that share them."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, torch.device], Tensor] = {}

    def __call__(self, indices: Sequence[int] | NDArray[np.int64], device: torch.device) -> Tensor:
        array = np.ascontiguousarray(indices, dtype=np.int64)
        key = (array.tobytes(), device)
        if key not in self._made:
            self._made[key] = torch.tensor(array, device=device)
        return self._made[key]


def _selected(
    dense: Tensor,
    slices: Mapping[int, Sequence[int] | NDArray[np.int64]],
    chosen: _Indices,
    override: Tensor | None,
    name: str,
) -> Tensor:
    """A tensor that owns its memory: the override if there is one, else what stays of `dense`."""
    if override is not None:
        shape = tuple(len(slices[d]) if d in slices else size for d, size in enumerate(dense.shape))
        if tuple(override.shape) != shape:
            raise ModelError(f"the weights for '{name}' must have shape {shape}, got {tuple(override.shape)}")
        data = override.detach().to(dense, copy=True)
    else:
        data = dense
        for dim, indices in sorted(slices.items(), key=lambda item: len(item[1]) / dense.shape[item[0]]):
            data = data.index_select(dim, chosen(indices, dense.device))
        data = data if slices else dense.clone()
    return in_order_of(dense, data)
