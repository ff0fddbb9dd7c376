"""What runs a network: PyTorch eager, `torch.compile`, ONNX Runtime."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ArgumentError, ModelError
from autoprune.graph.export import split_inputs
from autoprune.latency.clock import Run


def prepare(backend: str, model: nn.Module, inputs: Any, threads: int) -> Run:
    """A call that runs one forward pass and returns when it is done.

    Args:
        backend: A name in `BACKENDS`.
        model: In evaluation mode.
        inputs: A tensor, a tuple of arguments or a dict of keyword arguments.
        threads: For backends that keep their own; PyTorch's are pinned by the caller.

    Raises:
        ArgumentError: An unknown backend, or one whose libraries or compiler are missing.
        ModelError: The backend cannot run the network.
    """
    check_backend(backend)
    return BACKENDS[backend](model, inputs, threads)


def check_backend(backend: str) -> None:
    """Refuse an unknown backend, or one whose library is not installed.

    Raises:
        ArgumentError: As said.
    """
    if backend not in BACKENDS:
        raise ArgumentError(f"backend must be one of {', '.join(BACKENDS)}, got '{backend}'")
    if backend == "onnxruntime":
        from importlib.util import find_spec

        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise ArgumentError(
                f"backend 'onnxruntime' needs {', '.join(missing)}; "
                "install them with: pip install 'autoprune[onnx]'"
            )


def _eager(model: nn.Module, inputs: Any, threads: int) -> Run:
    args, kwargs = split_inputs(inputs)
    cuda = any(isinstance(t, Tensor) and t.is_cuda for t in pytree.tree_leaves((args, kwargs)))

    def run() -> None:
        with torch.inference_mode():
            model(*args, **kwargs)
        if cuda:
            torch.cuda.synchronize()

    return run


def _compiled(model: nn.Module, inputs: Any, threads: int) -> Run:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch._dynamo.reset()
            run = _eager(torch.compile(model, dynamic=False), inputs, threads)  # type: ignore[arg-type]
            run()
    except Exception as error:  # the compiler raises anything
        if "compiler" in str(error).lower():
            raise ArgumentError(
                f"backend 'compile' needs a C++ compiler (g++ or clang, or the variable CXX): {_first(error)}"
            ) from error
        raise ModelError(f"torch.compile cannot run the network: {_first(error)}") from error
    return run


def _onnxruntime(model: nn.Module, inputs: Any, threads: int) -> Run:
    args, kwargs = split_inputs(inputs)
    program = onnx_program(model, args, kwargs)
    session = onnx_session(program.model_proto.SerializeToString(), threads)
    feed = named_inputs(session, args, kwargs)

    def run() -> None:
        session.run(None, feed)

    return run


def onnx_program(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: Any = None
) -> Any:
    """The network as ONNX, by the exporter that builds on `torch.export`.

    Args:
        model: In evaluation mode.
        args: Of its forward.
        kwargs: Likewise.
        dynamic: Which sizes stay open, as `torch.export` takes them; None fixes all.

    Raises:
        ArgumentError: The libraries are missing.
        ModelError: The network cannot be exported.
    """
    check_backend("onnxruntime")
    try:
        with quiet():
            return torch.onnx.export(
                model, args, kwargs=dict(kwargs), dynamo=True, verbose=False, dynamic_shapes=dynamic
            )
    except Exception as error:  # export raises anything
        raise ModelError(f"torch.onnx.export refuses the network: {_first(error)}") from error


def onnx_session(model: Any, threads: int) -> Any:
    """A session of ONNX Runtime on the CPU, from a path or the bytes of a model."""
    check_backend("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def named_inputs(session: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors among the arguments by the names of the session's inputs, which have the same order."""
    tensors = [t for t in pytree.tree_leaves((args, dict(kwargs))) if isinstance(t, Tensor)]
    names = [value.name for value in session.get_inputs()]
    return {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what an exporter prints and logs off the user's terminal: its error carries the message."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


BACKENDS: Mapping[str, Callable[[nn.Module, Any, int], Run]] = {
    "eager": _eager,
    "compile": _compiled,
    "onnxruntime": _onnxruntime,
}
"""How a network is made ready, by name."""
