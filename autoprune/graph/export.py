"""Run `torch.export` on a model and name every tensor of the result as the model's `state_dict` does."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from autoprune.errors import ArgumentError, TraceError

_HINT = (
    "try: make the forward free of control flow that depends on tensor values, pass example inputs that "
    "reach every branch you need, move pre- or post-processing out of the model, or trace the part that "
    "is exportable"
)


_LOGGERS = ("torch.export", "torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


@dataclass(frozen=True)
class Exported:
    """A model as a flat ATen graph.

    Attributes:
        program: What `torch.export` returned.
        sources: Placeholder name -> `state_dict` name, for every parameter and persistent buffer.
        constants: Placeholder names of other tensors that the model holds.
        tensors: `state_dict` name -> tensor, parameters and persistent buffers, first names only.
        parameters: The names in `tensors` that are parameters.
        fingerprint: Names and shapes of all parameters and buffers, in order, shared ones under every name.
        aliases: Further names of shared tensors -> the first name.
    """

    program: torch.export.ExportedProgram
    sources: dict[str, str]
    constants: frozenset[str]
    tensors: dict[str, Tensor]
    parameters: frozenset[str]
    fingerprint: dict[str, tuple[int, ...]]
    aliases: dict[str, str] = field(default_factory=dict)


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter or buffer."""
    tensor = next(iter(model.parameters()), None)
    return next((b.device for b in model.buffers()), torch.device("cpu")) if tensor is None else tensor.device


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and `torch.compile` wrappers."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch every submodule to eval mode and restore each one's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def split_inputs(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn a tensor, positional arguments or a mapping of keyword arguments into (args, kwargs)."""
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple | list):
        return tuple(example_inputs), {}
    raise ArgumentError(
        "example_inputs must be a tensor, a tuple of positional arguments or a dict of keyword arguments, "
        f"got {type(example_inputs).__name__}"
    )


def export(model: nn.Module, example_inputs: Any) -> Exported:
    """Export `model` in eval mode.

    Args:
        model: The network, in any mode; untouched afterwards.
        example_inputs: A tensor, a tuple of positional arguments or a dict of keyword arguments.

    Raises:
        ArgumentError: `model` is not a module, or `example_inputs` is of another type.
        TraceError: The model cannot run on the inputs, or `torch.export` refuses it.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    args, kwargs = split_inputs(example_inputs)
    if any(isinstance(t, UninitializedParameter | UninitializedBuffer) for _, t in _state(model)):
        raise ArgumentError(
            "model must have its final shapes, but has lazy parameters; run one forward pass first"
        )
    with evaluating(model), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(model, args, kwargs, strict=False)
        except Exception as error:  # export raises anything that the forward raises
            raise _refusal(model, args, kwargs, error) from error
    names = _canonical_names(model)
    sources = _sources(program, model, names)
    return Exported(
        program=program,
        sources=sources,
        constants=frozenset(
            spec.arg.name
            for spec in program.graph_signature.input_specs
            if spec.kind is not InputKind.USER_INPUT and spec.arg.name not in sources
        ),
        tensors={name: tensor for name, tensor in _state(model) if names[id(tensor)] == name},
        parameters=frozenset(name for name, _ in model.named_parameters()),
        fingerprint={name: tuple(tensor.shape) for name, tensor in _state(model)},
        aliases={name: names[id(tensor)] for name, tensor in _state(model) if names[id(tensor)] != name},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what export logs and prints on failure off the user's terminal: the error carries the message."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    states = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, state in zip(loggers, states, strict=True):
            logger.disabled = state


def _refusal(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> TraceError:
    """Tell inputs that do not fit the model from a model that only export refuses."""
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    except Exception as failure:
        return TraceError(
            f"the model's forward fails on example_inputs ({_describe(args, kwargs)}): "
            f"{type(failure).__name__}: {failure}; pass inputs of the shape and type that the model takes"
        )
    return TraceError(f"torch.export refuses the model; {_HINT}; it says: {type(error).__name__}: {error}")


def _describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    def one(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        return type(value).__name__

    return ", ".join([one(a) for a in args] + [f"{key}={one(value)}" for key, value in kwargs.items()])


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers in `state_dict` order, shared ones under every name."""
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            yield name, value


def _canonical_names(model: nn.Module) -> dict[int, str]:
    """The id of every tensor object in the state -> its first name."""
    names: dict[int, str] = {}
    for name, tensor in _state(model):
        names.setdefault(id(tensor), name)
    return names


def _sources(
    program: torch.export.ExportedProgram, model: nn.Module, names: dict[int, str]
) -> dict[str, str]:
    """Placeholder name -> canonical `state_dict` name, for parameters and persistent buffers."""
    objects: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    objects.update(model.named_buffers(remove_duplicate=False))
    sources: dict[str, str] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER) or spec.target is None:
            continue
        tensor = objects.get(spec.target)
        if tensor is not None and id(tensor) in names:
            sources[spec.arg.name] = names[id(tensor)]
    return sources
