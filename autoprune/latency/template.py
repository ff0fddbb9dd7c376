"""A layer with what follows it, as data: ops, shapes that depend on a few widths, and nothing else.

It holds all that is needed to measure the layer on a machine that lacks the network.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt

DIM = "dim"
"""Marks a number that varies: `{"dim": [fixed, k0, k1, ...]}` is `fixed + k0 * v0 + k1 * v1 + ...`."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Operand(_Strict):
    """A tensor that goes in.

    Attributes:
        shape: Sizes, varying ones marked (see `DIM`).
        dtype: For example "float32".
        weight: Whether it is a parameter or buffer; otherwise an activation.
    """

    shape: tuple[JsonValue, ...]
    dtype: str
    weight: bool


class Op(_Strict):
    """One call.

    Attributes:
        name: For example "aten.conv2d.default", or "getitem".
        args: Plain values; `{"in": i}` is an operand, `{"op": i}` what an earlier call gave.
        kwargs: The same by name.
    """

    name: str
    args: tuple[JsonValue, ...]
    kwargs: dict[str, JsonValue] = {}


class Template(_Strict):
    """A layer and what follows it, for any value of its variables.

    Attributes:
        variables: Number of widths that it depends on.
        operands: Tensors that go in.
        ops: Calls in order.
        outputs: Calls whose result is used later.
    """

    variables: NonNegativeInt
    operands: tuple[Operand, ...]
    ops: tuple[Op, ...]
    outputs: tuple[NonNegativeInt, ...]

    @property
    def key(self) -> str:
        """The same for the same layer in any network."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def title(self) -> str:
        """The ops in a line, for messages: `conv2d+batch_norm+relu (1, v0, 32, 32)`."""
        names = [op.name.split(".")[1] if "." in op.name else op.name for op in self.ops]
        first = next((o.shape for o in self.operands if not o.weight), ())
        shape = ", ".join(_shown(size) for size in first)
        return f"{'+'.join(names)} ({shape})"

    def at(self, values: Sequence[int]) -> "Template":
        """The layer with its variables filled in."""
        return self.model_validate_json(
            json.dumps(filled(self.model_dump(mode="json"), values) | {"variables": 0})
        )

    def work(self, values: Sequence[int]) -> int:
        """Elements of all operands: grows with every variable."""
        return sum(_product(filled(list(operand.shape), values)) for operand in self.operands)


def filled(item: Any, values: Sequence[int]) -> Any:
    """`item` with every varying number replaced by what it is for `values`."""
    if isinstance(item, dict):
        if set(item) == {DIM}:
            fixed, *factors = item[DIM]
            return fixed + sum(k * v for k, v in zip(factors, values, strict=True))
        return {key: filled(value, values) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [filled(value, values) for value in item]
    return item


def leaves(item: Any) -> Iterator[Any]:
    """All plain values and marked numbers in nested lists and mappings."""
    if isinstance(item, dict) and set(item) != {DIM}:
        for value in item.values():
            yield from leaves(value)
    elif isinstance(item, list | tuple):
        for value in item:
            yield from leaves(value)
    else:
        yield item


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _shown(size: JsonValue) -> str:
    numbers = size[DIM] if isinstance(size, dict) else None
    if not isinstance(numbers, list):
        return str(size)
    fixed, *factors = numbers
    parts = [str(fixed)] * bool(fixed)
    parts += [f"v{i}" if k == 1 else f"{k}*v{i}" for i, k in enumerate(factors) if k]
    return "+".join(parts)
