"""How each format is written, and how it is read and run again."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ModelError
from autoprune.latency.backends import named_inputs, onnx_program, onnx_session, quiet

Outputs = Callable[[], list[Tensor]]
"""Runs what was read from a file on the example inputs."""


class Format(NamedTuple):
    """One format.

    Attributes:
        suffix: Of the file's name.
        pack: The content of the file for a network, given args and kwargs of its forward, and which of
            their sizes stay open, as `torch.export` takes them (None fixes all).
        read: Reads the file and gives what runs it, with so many threads.
    """

    suffix: str
    pack: Callable[[nn.Module, tuple[Any, ...], Mapping[str, Any], Any], bytes]
    read: Callable[[Path, tuple[Any, ...], Mapping[str, Any], int], Outputs]


def _pack_onnx(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: Any) -> bytes:
    program = onnx_program(model, args, kwargs, dynamic)
    try:
        return bytes(program.model_proto.SerializeToString())
    except ValueError as error:  # a message of protobuf has at most 2 GiB
        raise ModelError(f"the network is too large for one ONNX file: {error}") from error


def _read_onnx(path: Path, args: tuple[Any, ...], kwargs: Mapping[str, Any], threads: int) -> Outputs:
    session = onnx_session(str(path), threads)
    feed = named_inputs(session, args, kwargs)
    return lambda: [torch.from_numpy(output) for output in session.run(None, feed)]


def _pack_program(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: Any) -> bytes:
    try:
        with quiet():
            program = torch.export.export(model, args, dict(kwargs), strict=False, dynamic_shapes=dynamic)
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
    except Exception as error:  # export raises anything that the forward raises
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(f"torch.export refuses the network: {type(error).__name__}: {lines[0]}") from error
    return buffer.getvalue()


def _read_program(path: Path, args: tuple[Any, ...], kwargs: Mapping[str, Any], threads: int) -> Outputs:
    with quiet(), path.open("rb") as file:
        network = torch.export.load(file).module()

    def run() -> list[Tensor]:
        with torch.inference_mode():
            return tensors_of(network(*args, **kwargs))

    return run


def tensors_of(outputs: Any) -> list[Tensor]:
    """The tensors among the outputs of a network, in order."""
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


PROGRAMS: Mapping[str, Format] = {
    "onnx": Format(".onnx", _pack_onnx, _read_onnx),
    "torch": Format(".pt2", _pack_program, _read_program),
}
"""The formats that run without this library and without the network's class."""
