"""Which rule handles which op, and how users add their own."""

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from autoprune.graph.call import Call
    from autoprune.graph.tracer import Tracer

Rule = Callable[["Tracer", "Call"], Any]

_RULES: dict[str, Rule] = {}


def op_name(target: Any) -> str:
    """The qualified name of an op, for example `aten::conv2d`; the same for all its overloads."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target._schema.name)
    if isinstance(target, torch._ops.OpOverloadPacket):
        return str(target._qualified_op_name)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order::{target.__name__}"
    if isinstance(target, FunctionType):
        return f"python::{target.__name__}"
    return str(getattr(target, "__name__", target))


def aten(names: str) -> tuple[str, ...]:
    """Qualified names of PyTorch's own ops, from their bare names separated by spaces."""
    return tuple(f"aten::{name}" for name in names.split())


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Decorator: this function handles the ops of these qualified names, all overloads."""

    def register(function: Rule) -> Rule:
        for name in names:
            _RULES[name] = function
        return function

    return register


def register_rule(op: Any, function: Rule) -> None:
    """Teach the tracer an op of your own, or replace the rule of a known one.

    A rule gets the tracer and the call and returns what the op returns, with `Value`s in place of tensors.
    For an op that acts on every element by itself, `autoprune.graph.pointwise` is the rule.

    Example: an op of your own that scales every channel (dimension 1) by a weight.

        def scaled(tracer: Tracer, call: Call) -> Value:
            x, weight = call["x"], call["weight"]
            for channels, scales in zip(x.along(1), weight.along(0)):
                tracer.unite(channels.ids.ravel(), scales.ids.ravel())
            return replace(call.output, labels=x.labels)

        register_rule(torch.ops.mylib.scaled, scaled)

    Args:
        op: The op: `torch.ops.mylib.myop`, one of its overloads, or its name `"mylib::myop"`.
        function: The rule; it returns `NotImplemented` where it does not handle a call (the operands are
            then locked).

    Raises:
        ArgumentError: `op` is no op, or `function` cannot be called.
    """
    name = op if isinstance(op, str) else op_name(op)
    if "::" not in name:
        raise ArgumentError(f"op must be an op of torch.ops or a name like 'mylib::myop', got {op!r}")
    if not callable(function):
        raise ArgumentError(f"function must be a callable (tracer, call) -> result, got {function!r}")
    _RULES[name] = function


def find(name: str) -> Rule | None:
    """The rule for an op of this qualified name, or None."""
    return _RULES.get(name)


def table() -> dict[str, Rule]:
    """All ops that have a rule, by qualified name; a rule's docstring says what it does and why."""
    return dict(sorted(_RULES.items()))
