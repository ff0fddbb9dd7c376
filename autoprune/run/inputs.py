"""Example inputs as a file, so that a resumed run traces exactly what the first one traced."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from autoprune.data import tensor_bytes
from autoprune.errors import ArgumentError, RunError
from autoprune.files import write_tensors

CHECKSUM = "sha256"


def write_inputs(path: Path, inputs: Any) -> None:
    """Write a tensor, a tuple or a dict of tensors; other arguments must be JSON values.

    Raises:
        ArgumentError: An argument is neither.
        OSError: The file cannot be written.
    """
    kind = "tensor" if isinstance(inputs, Tensor) else "dict" if isinstance(inputs, dict) else "tuple"
    items = inputs if isinstance(inputs, dict) else dict(enumerate([inputs] if kind == "tensor" else inputs))
    tensors = {str(key): value for key, value in items.items() if isinstance(value, Tensor)}
    values = {str(key): value for key, value in items.items() if not isinstance(value, Tensor)}
    try:
        metadata = {
            "kind": kind,
            "keys": json.dumps([str(key) for key in items]),
            "values": json.dumps(values),
        }
    except TypeError as error:
        raise ArgumentError(
            f"example_inputs must be tensors and plain values to be kept in run_dir: {error}; "
            "bind other arguments in a wrapper module"
        ) from error
    write_tensors(path, tensors, metadata | {CHECKSUM: _checksum(tensors, metadata)})


def read_inputs(path: Path) -> Any:
    """Read what `write_inputs` wrote.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata())
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata.pop(CHECKSUM) != _checksum(tensors, metadata):
            raise ValueError("its checksum does not match")
        items = tensors | json.loads(metadata["values"])
        ordered = {key: items[key] for key in json.loads(metadata["keys"])}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"'{path}' cannot be read: {error}; pass example_inputs to resume") from error
    if metadata["kind"] == "dict":
        return ordered
    return ordered["0"] if metadata["kind"] == "tensor" else tuple(ordered.values())


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
