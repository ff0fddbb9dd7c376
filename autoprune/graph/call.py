"""One call of an op in the exported graph, as the rules see it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from autoprune.graph.registry import op_name
from autoprune.graph.values import Value


@dataclass(frozen=True)
class Call:
    """One call of an op, its arguments bound to the names in the op's schema.

    Attributes:
        node: The node of the exported graph.
        name: The op's qualified name, for example `aten::conv2d`.
        arguments: Argument name -> Value for tensors, plain Python for the rest, defaults included.
        module: Path of the module whose forward makes the call.
    """

    node: fx.Node
    name: str
    arguments: dict[str, Any]
    module: str

    @staticmethod
    def bind(node: fx.Node, env: Mapping[fx.Node, Any]) -> "Call":
        """Look the node's operands up in `env` and name them."""
        args, kwargs = resolve(node.args, env), resolve(node.kwargs, env)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        module = str(stack[-1][0]) if stack else ""
        return Call(node, op_name(node.target), bind_arguments(node.target, args, kwargs), module)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument called `name`, or `default` if the op has none."""
        return self.arguments.get(name, default)

    @property
    def values(self) -> list[Value]:
        """All tensor operands, in the order of the schema."""
        return list(values_in(self.arguments))

    @property
    def input(self) -> Value:
        """The first tensor operand."""
        return next(values_in(self.arguments))

    @property
    def result(self) -> Any:
        """The result without any label: a Value, or Values in export's nesting."""
        return meta_value(self.node)

    @property
    def output(self) -> Value:
        """The first (or only) tensor of the result, without any label."""
        return next(values_in(self.result))


def resolve(arguments: Any, env: Mapping[fx.Node, Any]) -> Any:
    """`arguments` with every node in them replaced by what it yields."""
    return map_arg(arguments, env.__getitem__)


def bind_arguments(target: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments by the names of the op's schema, defaults included; by position where there is no schema."""
    if not isinstance(target, torch._ops.OpOverload):
        return {str(i): value for i, value in enumerate(args)} | dict(kwargs)
    named: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(args) and not argument.kwarg_only:
            named[argument.name] = args[i]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def meta_value(node: fx.Node) -> Any:
    """What export knows of the result of `node`, tensors as Values without labels."""
    return _convert(node.meta.get("val"))


def _convert(item: Any) -> Any:
    if isinstance(item, Tensor):
        return Value(tuple(int(size) for size in item.shape), dtype=item.dtype)
    if isinstance(item, tuple):
        return tuple(_convert(i) for i in item)
    if isinstance(item, list):
        return [_convert(i) for i in item]
    return item


def values_in(item: Any) -> Iterator[Value]:
    """All Values in nested sequences and mappings."""
    if isinstance(item, Value):
        yield item
    elif isinstance(item, list | tuple):
        for i in item:
            yield from values_in(i)
    elif isinstance(item, dict):
        for i in item.values():
            yield from values_in(i)
