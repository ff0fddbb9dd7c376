"""Finding the tensors of a model that masks name."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torch import Tensor, nn

from autoprune.errors import MaskError


def find(model: nn.Module, name: str) -> Tensor | None:
    """The parameter or buffer of that `state_dict` name, or None."""
    path, _, attribute = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return None
    return module._parameters.get(attribute, module._buffers.get(attribute))


def resolve(masks: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors of `model` that `masks` name, each checked against its mask.

    Raises:
        MaskError: A name that the model lacks, or a mask of another shape.
    """
    found: dict[str, Tensor] = {}
    for name, mask in masks.items():
        tensor = find(model, name)
        if tensor is None:
            raise MaskError(_missing(model, name))
        if tensor.shape != mask.shape:
            raise MaskError(
                f"masks['{name}'] has shape {tuple(mask.shape)} but the model's tensor has "
                f"{tuple(tensor.shape)}: the masks belong to another network"
            )
        found[name] = tensor
    return found


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A clause that offers the nearest of `names`, or nothing where none is near."""
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _missing(model: nn.Module, name: str) -> str:
    if find(model, f"{name}_orig") is not None and find(model, f"{name}_mask") is not None:
        return (
            f"masks['{name}'] cannot be used while torch.nn.utils.prune re-parametrizes that tensor: take it "
            "off with autoprune.masks.strip_torch_prune(model) first"
        )
    return f"masks['{name}'] names no tensor of the model{did_you_mean(name, model.state_dict())}"
