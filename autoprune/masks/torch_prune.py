"""Masks to and from `torch.nn.utils.prune`, which re-parametrizes `weight` as `weight_orig * weight_mask`."""

import logging

import torch
from torch import nn
from torch.nn.utils import prune

from autoprune.masks.store import Masks
from autoprune.masks.targets import find, resolve

_log = logging.getLogger("autoprune.masks")


def from_torch_prune(model: nn.Module) -> Masks:
    """The masks that `torch.nn.utils.prune` holds in a model, which stays as it is.

    They are named after the dense tensor (`conv.weight`, not `conv.weight_mask`); how they were computed
    (locally, globally, structured, repeatedly) makes no difference. A model without any has no masks.
    """
    return Masks(
        {
            f"{path}.{name}" if path else name: getattr(module, f"{name}_mask") != 0
            for path, module in model.named_modules()
            for name in _pruned(module)
        }
    )


def to_torch_prune(masks: Masks, model: nn.Module) -> None:
    """Prune `model` in place with `torch.nn.utils.prune.custom_from_mask`, one call per masked parameter.

    Where a parameter is pruned already, only weights that both masks keep stay. A parameter that several
    modules share is pruned in each of them. Masks of buffers are left out, as `torch.nn.utils.prune` knows
    parameters only; the log says so.

    Raises:
        MaskError: The masks do not fit the model; it is then unchanged.
    """
    names = {name: f"{name}_orig" if find(model, f"{name}_orig") is not None else name for name in masks}
    targets = resolve({names[name]: mask for name, mask in masks.items()}, model)
    places: dict[int, list[str]] = {}
    for alias, parameter in model.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(alias)
    for name, mask in masks.items():
        target = targets[names[name]]
        if not isinstance(target, nn.Parameter):
            _log.info("the mask of '%s' is left out: torch.nn.utils.prune masks no buffers", name)
            continue
        for alias in places[id(target)]:
            path, _, attribute = alias.rpartition(".")
            module = model.get_submodule(path)
            place = attribute.removesuffix("_orig")
            prune.custom_from_mask(module, place, mask.to(target.device))  # type: ignore[no-untyped-call]


@torch.no_grad()
def strip_torch_prune(model: nn.Module) -> Masks:
    """Take `torch.nn.utils.prune` off a model in place: its dense weights are back, bit by bit.

    Unlike `torch.nn.utils.prune.remove`, which bakes the zeros in. A weight stands before its bias again;
    other parameters of a module that was pruned move behind the unpruned ones.

    Returns:
        The masks that were in force, to apply or enforce.
    """
    masks = from_torch_prune(model)
    for module in model.modules():
        for name in _pruned(module):
            _strip(module, name)
    return masks


def _pruned(module: nn.Module) -> list[str]:
    """Names of the parameters of a module that `torch.nn.utils.prune` holds."""
    originals = [name.removesuffix("_orig") for name in module._parameters if name.endswith("_orig")]
    return [name for name in originals if f"{name}_mask" in module._buffers]


def _strip(module: nn.Module, name: str) -> None:
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == name:
            del module._forward_pre_hooks[key]
    dense = module._parameters.pop(f"{name}_orig")
    del module._buffers[f"{name}_mask"]
    delattr(module, name)
    module.register_parameter(name, dense)
    if name == "weight" and "bias" in module._parameters:
        module._parameters["bias"] = module._parameters.pop("bias")
