"""2:4 masks as hardware sparsity: `torch.sparse.to_sparse_semi_structured` where the device has it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.masks.nm import follows
from autoprune.masks.store import Masks
from autoprune.masks.targets import resolve

_AMPERE = (8, 0)


@dataclass(frozen=True)
class SemiStructuredReport:
    """What became of every masked tensor.

    Attributes:
        converted: Names of the weights that are semi-structured sparse tensors now.
        dense: Names of the tensors that stayed dense (with zeros), and why.
    """

    converted: tuple[str, ...]
    dense: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{name}: 2:4 sparse" for name in self.converted]
        lines += [f"{name}: dense, {reason}" for name, reason in self.dense.items()]
        return "\n".join(lines)


@torch.no_grad()
def to_semi_structured(masks: Masks, model: nn.Module) -> SemiStructuredReport:
    """Bake `masks` into `model` and turn the 2:4 weights of its linear layers into sparse tensors, in place.

    The sparse tensors are for inference (they require no gradient). NVIDIA GPUs from compute capability 8.0
    on multiply them; everything else stays dense, computes the same, and is reported with the reason.

    Raises:
        MaskError: The masks do not fit the model; it is then unchanged.
    """
    masks.bake(model)
    converted: list[str] = []
    dense: dict[str, str] = {}
    for name, tensor in resolve(masks, model).items():
        reason = _why_dense(model, name, tensor, masks[name]) or _convert(model, name, tensor)
        if reason:
            dense[name] = reason
        else:
            converted.append(name)
    return SemiStructuredReport(tuple(converted), dense)


def _why_dense(model: nn.Module, name: str, tensor: Tensor, mask: Tensor) -> str:
    """What rules the conversion out, or nothing."""
    path, _, attribute = name.rpartition(".")
    if not isinstance(model.get_submodule(path), nn.Linear) or attribute != "weight":
        return "only the weights of nn.Linear have semi-structured kernels"
    if sum(other is tensor for _, other in model.named_parameters(remove_duplicate=False)) > 1:
        return "the weight is shared by several modules"
    if not follows(mask, 2, 4):
        return "the mask is not 2:4"
    if mask.shape[1] % 4:
        return f"its {mask.shape[1]} inputs are no multiple of 4"
    if tensor.device.type != "cuda":
        return f"the device '{tensor.device.type}' has no semi-structured kernels"
    if torch.cuda.get_device_capability(tensor.device) < _AMPERE:
        return "the GPU is older than compute capability 8.0"
    return ""


def _convert(model: nn.Module, name: str, tensor: Tensor) -> str:
    """Replace the weight by its sparse form; what PyTorch has against it, or nothing."""
    path, _, attribute = name.rpartition(".")
    try:
        sparse = torch.sparse.to_sparse_semi_structured(tensor.detach().contiguous())
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return str(error).strip().splitlines()[0]
    setattr(model.get_submodule(path), attribute, nn.Parameter(sparse, requires_grad=False))
    return ""
