"""One layer as ONNX for any widths, from a few exports, because an export takes a second."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autoprune.latency.backends import onnx_program
from autoprune.latency.module import network_of
from autoprune.latency.template import Template

_FREE = 1e-2
"""Values of weights, which times do not depend on."""


class OnnxFamily:
    """The exported layer with every size in it as a linear function of the variables.

    Shapes of weights and inputs, integer constants and integer attributes are compared between the export at
    the largest values and one export per variable with one less.

    Args:
        template: The layer.
        largest: Largest value of every variable.
        export: Makes the ONNX model of the layer for given values.

    Attributes:
        uniform: Whether the exports differ in sizes only, so that one form fits all values.
    """

    def __init__(
        self,
        template: Template,
        largest: Sequence[int],
        export: Callable[[Template, Sequence[int]], Any] | None = None,
    ) -> None:
        export = exported if export is None else export
        self._largest = tuple(largest)
        self._model = export(template, largest)
        base = _numbers(self._model)
        self._steps = []
        self.uniform = True
        for j, size in enumerate(largest):
            less = list(largest)
            less[j] = max(1, size - 1)
            probe = export(template, less) if size > 1 else self._model
            numbers = _numbers(probe)
            self.uniform &= _structure(probe) == _structure(self._model) and len(numbers) == len(base)
            if self.uniform:
                self._steps.append(base - numbers)
        self._base = base

    def at(self, values: Sequence[int]) -> bytes:
        """The model for these values of the variables; only where `uniform`."""
        numbers = self._base.copy()
        for step, value, size in zip(self._steps, values, self._largest, strict=True):
            numbers += step * (value - size)
        model = type(self._model)()
        model.CopyFrom(self._model)
        _write(model, numbers.tolist())
        return bytes(model.SerializeToString())


def exported(template: Template, values: Sequence[int]) -> Any:
    """The ONNX model of a layer."""
    module, inputs = network_of(template.at(values))
    return onnx_program(module, inputs, {}).model_proto


def _structure(model: Any) -> Any:
    """All that must not depend on the variables."""
    graph = model.graph
    nodes = [
        (node.op_type, tuple(node.input), tuple(node.output), [_rest(a) for a in node.attribute])
        for node in graph.node
    ]
    weights = [(w.name, w.data_type, len(w.dims)) for w in graph.initializer]
    return nodes, weights, [value.name for value in graph.input]


def _rest(attribute: Any) -> Any:
    kinds = type(attribute)
    if attribute.type in (kinds.INT, kinds.INTS):
        return attribute.name, len(attribute.ints)
    return attribute.name, attribute.SerializeToString()


def _numbers(model: Any) -> Any:
    """Every size in the model, as an integer array."""
    from onnx import TensorProto, numpy_helper

    found: list[int] = []
    for value in model.graph.input:
        found += [int(d.dim_value) for d in value.type.tensor_type.shape.dim]
    for weight in model.graph.initializer:
        found += list(weight.dims)
        if weight.data_type == TensorProto.INT64:
            found += numpy_helper.to_array(weight).ravel().tolist()
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == attribute.INT:
                found.append(int(attribute.i))
            elif attribute.type == attribute.INTS:
                found += list(attribute.ints)
    return np.array(found, np.int64)


def _write(model: Any, numbers: Sequence[int]) -> None:
    """Put the sizes back in the order of `_numbers`, and leave the inner ones to the runtime."""
    from onnx import TensorProto, helper, numpy_helper

    rest = iter(numbers)
    for value in model.graph.input:
        for d in value.type.tensor_type.shape.dim:
            d.dim_value = next(rest)
    for weight in model.graph.initializer:
        dims = [next(rest) for _ in weight.dims]
        kind = helper.tensor_dtype_to_np_dtype(weight.data_type)
        if weight.data_type == TensorProto.INT64:
            content = np.array([next(rest) for _ in range(int(np.prod(dims)))], kind).reshape(dims)
        else:
            content = np.full(dims, _FREE, kind)
        weight.CopyFrom(numpy_helper.from_array(content, weight.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == attribute.INT:
                attribute.i = next(rest)
            elif attribute.type == attribute.INTS:
                attribute.ints[:] = [next(rest) for _ in attribute.ints]
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
