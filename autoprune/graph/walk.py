"""The walk over the exported graph: every op's rule moves labels from its operands to its results."""

import logging
import operator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx

from autoprune.graph import registry
from autoprune.graph.call import Call, meta_value, resolve, values_in
from autoprune.graph.flops import count_macs
from autoprune.graph.reorder import fold_lookups, fold_shuffles
from autoprune.graph.rules.elementwise import IDENTITY
from autoprune.graph.rules.reduce import HARMLESS_IF_UNUSED
from autoprune.graph.spread import spread_convolutions
from autoprune.graph.tracer import Tracer
from autoprune.graph.unstack import unstack
from autoprune.graph.values import Label, Value

logger = logging.getLogger("autoprune.graph")

_ALIASING = frozenset(IDENTITY)
_WRAPPERS = frozenset({"higher_order::wrap_with_set_grad_enabled", "higher_order::wrap_with_autocast"})


def walk(tracer: Tracer) -> dict[fx.Node, Any]:
    """Walk the whole graph once and lock what never takes part.

    Returns:
        What every node yields, tensors as labeled Values.
    """
    for name in tracer.exported.tensors:
        tracer.tensor(name)
    root = tracer.exported.program.graph_module
    if tracer.settings.rewritten:
        fold_shuffles(root)
        unstack(root)
        fold_lookups(root, _constants(tracer))
        spread_convolutions(root)
    scope = _Scope(tracer, root)
    for node in root.graph.nodes:
        if node.op == "placeholder":
            scope.env[node] = _placeholder(tracer, node)
    for value in values_in(scope.run()):
        tracer.touch(value)
        tracer.lock(value, "output of the model")
    for name in tracer.exported.tensors:
        if name not in tracer.touched:
            tracer.lock(tracer.tensor(name), "not used by a forward pass in eval mode")
    return scope.env


def _constants(tracer: Tracer) -> dict[str, torch.Tensor]:
    """Placeholder name -> tensor, for what is neither an input nor a parameter or persistent buffer."""
    program = tracer.exported.program
    held = {**program.state_dict, **program.constants}
    return {
        spec.arg.name: held[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.arg.name in tracer.exported.constants and spec.target in held
    }


def _placeholder(tracer: Tracer, node: fx.Node) -> Any:
    name = tracer.exported.sources.get(node.name)
    if name is not None:
        return tracer.tensor(name)
    origin = "a constant of the model" if node.name in tracer.exported.constants else "the model's input"
    return _with_origin(meta_value(node), origin)


@dataclass
class _Scope:
    """One graph module being walked: the exported graph, or the body of a wrapper inside it.

    Attributes:
        env: What every node yields.
        families: Node -> nodes that may share its memory.
    """

    tracer: Tracer
    module: fx.GraphModule
    env: dict[fx.Node, Any] = field(default_factory=dict)
    families: dict[fx.Node, set[fx.Node]] = field(default_factory=dict)

    def run(self) -> Any:
        """Handle all nodes in order and return what the graph returns."""
        for node in self.module.graph.nodes:
            self.tracer.time += 1
            if node.op == "output":
                return resolve(node.args[0], self.env)
            if node.op == "get_attr":
                self.env[node] = _attribute(self.module, node)
            elif node.op == "call_function":
                self.env[node] = self._call(node)
        return None

    def _call(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            source, index = resolve(node.args, self.env)
            self._join(node, [a for a in node.args if isinstance(a, fx.Node)])
            return source[index]
        call = Call.bind(node, self.env)
        if call.name in _WRAPPERS:
            return self._inline(node)
        if not node.users and call.name in HARMLESS_IF_UNUSED:
            return meta_value(node)
        for value in call.values:
            self.tracer.touch(value)
        result = apply_rule(self.tracer, call)
        self._alias(node, call, result)
        return result

    def _inline(self, node: fx.Node) -> Any:
        """Walk the body of a wrapper that only switches a mode."""
        args = resolve(node.args, self.env)
        start = next(i for i, argument in enumerate(args) if isinstance(argument, fx.GraphModule))
        body = _Scope(self.tracer, args[start], self.env, self.families)
        inner = [n for n in args[start].graph.nodes if n.op == "placeholder"]
        for placeholder, value, outer in zip(inner, args[start + 1 :], node.args[start + 1 :], strict=True):
            self.env[placeholder] = value
            if isinstance(outer, fx.Node):
                self._join(placeholder, [outer])
        return body.run()

    def _join(self, node: fx.Node, others: list[fx.Node]) -> None:
        family = self.families.setdefault(node, {node})
        for other in others:
            family |= self.families.setdefault(other, {other})
        for member in family:
            self.families[member] = family

    def _alias(self, node: fx.Node, call: Call, result: Any) -> None:
        """Keep track of shared memory; an op that writes in place changes what all sharers hold."""
        if not isinstance(node.target, torch._ops.OpOverload):
            return
        schema = node.target._schema
        operands = [a for i, a in enumerate(node.args) if i < len(schema.arguments)]
        shared, written = [], []
        for operand, argument in zip(operands, schema.arguments, strict=False):
            nodes = [
                a
                for a in (operand if isinstance(operand, list | tuple) else [operand])
                if isinstance(a, fx.Node)
            ]
            if argument.alias_info is not None:
                shared += nodes
                written += nodes if argument.alias_info.is_write else []
        if call.name in _ALIASING and isinstance(node.args[0], fx.Node):
            shared.append(node.args[0])
        if any(r.alias_info is not None for r in schema.returns) or call.name in _ALIASING:
            self._join(node, shared)
        for target in written:
            self._write(target, node, result)

    def _write(self, target: fx.Node, node: fx.Node, result: Any) -> None:
        """After an in-place op: its target holds the result, and its sharers may no longer hold zeros."""
        for member in self.families.get(target, {target}):
            if member is target and isinstance(result, Value):
                self.env[member] = result
            elif member is not node and member in self.env:
                self.env[member] = _without_zeros(self.env[member])


def apply_rule(tracer: Tracer, call: Call) -> Any:
    """The result of a call by its rule; without one, or if it fails, everything that goes in is locked."""
    rule = registry.find(call.name)
    counted = len(tracer.costs)
    result, reason = NotImplemented, f"no rule for the op {call.name}"
    if rule is not None:
        try:
            result = rule(tracer, call)
        except Exception as error:  # unions already made only lock more, so that going on is safe
            logger.warning(
                "the rule for %s failed at %s; its operands are locked", call.name, call.node, exc_info=True
            )
            reason = f"the rule for the op {call.name} failed: {type(error).__name__}: {error}"
    if result is NotImplemented:
        del tracer.costs[counted:]
        result = _unknown(tracer, call, reason)
    origin = next((v.origin for v in call.values if v.origin and not v.labels), "")
    return _with_origin(result, origin or f"the result of {call.name}")


def _unknown(tracer: Tracer, call: Call, reason: str) -> Any:
    """Lock the operands, so that the op costs the same for every candidate."""
    for value in call.values:
        tracer.lock(value, reason)
    macs = count_macs(call)
    if macs:
        tracer.cost(call.module, macs)
    return meta_value(call.node)


def _attribute(module: fx.GraphModule, node: fx.Node) -> Any:
    """A wrapper's body, or a constant."""
    found = operator.attrgetter(str(node.target))(module)
    if isinstance(found, fx.GraphModule):
        return found
    return _with_origin(meta_value(node), "a constant of the model")


def _with_origin(item: Any, origin: str) -> Any:
    if isinstance(item, Value):
        return item if item.labels or item.origin or item.parameter else replace(item, origin=origin)
    if isinstance(item, list | tuple):
        return type(item)(_with_origin(i, origin) for i in item)
    return item


def _without_zeros(item: Any) -> Any:
    if isinstance(item, Value):
        return replace(item, labels=tuple(Label(label.ids, False) for label in item.labels))
    if isinstance(item, list | tuple):
        return type(item)(_without_zeros(i) for i in item)
    return item
