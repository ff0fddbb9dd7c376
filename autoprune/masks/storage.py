"""Masks as files: safetensors with eight masks to a byte, names and shapes as JSON in its header."""

import hashlib
import json
from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autoprune.errors import MaskError
from autoprune.files import StrPath, write_tensors

_FORMAT = "autoprune.masks"
_VERSION = "1"


def write_masks(path: StrPath, masks: Mapping[str, Tensor]) -> None:
    """Write bool tensors to `path` in one step.

    Every mask is stored flat in row-major order, bit-packed (first weight in the highest bit).
    """
    packed = {name: np.packbits(mask.cpu().numpy().ravel()) for name, mask in masks.items()}
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "shapes": json.dumps(shapes),
        "sha256": _digest(packed),
    }
    write_tensors(path, {name: torch.from_numpy(bits) for name, bits in packed.items()}, header)


def read_masks(path: StrPath) -> dict[str, Tensor]:
    """Read what `write_masks` wrote, in the same order.

    Raises:
        MaskError: The file is missing, damaged, or no masks file.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise MaskError(f"the masks file '{path}' cannot be read: {error}") from error
    if header.get("format") != _FORMAT:
        raise MaskError(f"'{path}' is no masks file: its header does not say '{_FORMAT}'")
    if header.get("version") != _VERSION:
        raise MaskError(f"the masks file '{path}' has version {header.get('version')!r}, only '1' is known")
    try:
        shapes = {str(name): [int(n) for n in shape] for name, shape in json.loads(header["shapes"]).items()}
        ordered = {name: packed[name] for name in shapes}
        if len(packed) != len(shapes) or _digest(ordered) != header["sha256"]:
            raise ValueError("its checksum differs")
        return {name: _unpacked(ordered[name], shape) for name, shape in shapes.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise MaskError(f"the masks file '{path}' is damaged: {error}") from error


def _unpacked(bits: NDArray[np.uint8], shape: list[int]) -> Tensor:
    if bits.dtype != np.uint8 or bits.shape != (-(-prod(shape) // 8),):
        raise ValueError(f"{bits.size} bytes do not hold a mask of shape {tuple(shape)}")
    return torch.from_numpy(np.unpackbits(bits, count=prod(shape)).astype(bool)).reshape(shape)


def _digest(packed: Mapping[str, NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256()
    for bits in packed.values():
        digest.update(bits.tobytes())
    return digest.hexdigest()
