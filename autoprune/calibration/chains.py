"""What becomes of a layer's output before the next layer reads it: batch norm, a sum, a ReLU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from autoprune.calibration.intercept import LayerCall, Norm, NormCall, Watch
from autoprune.graph import Layer

_ATEN = torch.ops.aten
ADDITIONS = frozenset(
    {
        *(torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__),
        *(_ATEN.add.Tensor, _ATEN.add_.Tensor),
    }
)
RELUS = frozenset(
    {
        *(functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
        *(_ATEN.relu.default, _ATEN.relu_.default),
    }
)


class Chain(NamedTuple):
    """What follows a layer; each step only if it is the only thing that reads the value before.

    Attributes:
        norm: The batch normalization right behind the layer, or None.
        joins: Whether the value is then added to another one, as at the end of a residual branch.
        relu: Whether the value is then cut at 0.
    """

    norm: Norm | None = None
    joins: bool = False
    relu: bool = False


class Tracked:
    """Notes on tensors, by identity, for as long as the tensors live."""

    def __init__(self) -> None:
        self._notes: dict[int, tuple[Any, Any]] = {}

    def __setitem__(self, tensor: Tensor, note: Any) -> None:
        self._notes[id(tensor)] = (ref(tensor), note)

    def get(self, tensor: object) -> Any:
        """The note on a tensor, or None."""
        reference, note = self._notes.get(id(tensor), (None, None))
        return note if reference is not None and reference() is tensor else None

    def pop(self, tensor: object) -> Any:
        """The same, and forget it."""
        note = self.get(tensor)
        self._notes.pop(id(tensor), None)
        return note


def find_chains(model: nn.Module, layers: Sequence[Layer], run: Callable[[], Any]) -> dict[str, Chain]:
    """What follows every layer, seen in one forward pass.

    Of two layers whose outputs are added to each other, the one with the larger patches joins: it can make
    up for more.

    Args:
        model: The network, in eval mode.
        layers: The layers; those that run more than once have no chain.
        run: Runs the network once and gives its outputs.

    Returns:
        By name of the layer's weight.
    """
    watch = _Following(model, layers)
    with torch.no_grad(), watch:
        watch.returned(run())
    found = {name: marks[0].chain() for name, marks in watch.marks.items() if len(marks) == 1}
    for first, second in watch.met:
        if not (found.get(first.layer, Chain()).joins and found.get(second.layer, Chain()).joins):
            continue
        other = first if first.width < second.width else second
        found[other.layer] = found[other.layer]._replace(joins=False, relu=False)
    return found


@dataclass(eq=False)
class _Mark:
    """One run of a layer: what read its output, what read the normalized output, what read the sum.

    The value can only be put off until the sum if the layer's input is still there by then.
    """

    layer: str
    width: int
    inputs: Tensor
    version: int
    uses: list[list[str]] = field(default_factory=lambda: [[], [], []])
    norm: Norm | None = None

    def chain(self) -> Chain:
        """What the notes amount to."""
        norm = self.norm if self.uses[0] == ["norm"] else None
        last = self.uses[1] if norm else self.uses[0]
        joins = last == ["add"]
        return Chain(norm, joins, (self.uses[2] if joins else last) == ["relu"])


class _Following(Watch):
    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        super().__init__(model, layers)
        self.marks: dict[str, list[_Mark]] = {}
        self.met: list[tuple[_Mark, _Mark]] = []
        self._tracked = Tracked()

    def returned(self, outputs: Any) -> None:
        """What the network returns is read by whoever called it."""
        self._use(pytree.tree_leaves(outputs), "caller")

    def on_layer(self, call: LayerCall) -> Tensor:
        self._use([call.named["input"]], "layer")
        output = call.run()
        inputs = call.named["input"]
        mark = _Mark(call.layer.weight, call.width // call.groups, inputs, inputs._version)
        self.marks.setdefault(mark.layer, []).append(mark)
        self._tracked[output] = (mark, 0)
        return output

    def on_norm(self, call: NormCall) -> Tensor:
        before = call.named["input"]
        mark, stage = self._tracked.get(before) or (None, 0)
        self._use([before], "norm" if stage == 0 else "other")
        output = call.run()
        if mark is not None and stage == 0:
            mark.norm = call.norm
            self._tracked[output] = (mark, 1)
        return output

    def on_other(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        leaves = _tensors((*args, *kwargs.values()))
        for mark, stage in filter(None, map(self._tracked.get, leaves if function in ADDITIONS else ())):
            if stage < 2 and mark.inputs._version != mark.version:
                mark.uses[stage].append("too late")
        result = function(*args, **kwargs)
        if not _tensors((result,)):
            return result
        if function in RELUS:
            self._use(leaves, "relu")
        elif function in ADDITIONS and not kwargs and len(leaves) == 2 and leaves[0].shape == leaves[1].shape:
            self._meet(leaves, result)
            return result
        else:
            self._use(leaves, "other")
        if any(result is leaf for leaf in leaves):
            self._tracked.pop(result)
        return result

    def _meet(self, leaves: Sequence[Tensor], result: Tensor) -> None:
        notes = [self._tracked.get(leaf) for leaf in leaves]
        self._use(leaves, "add")
        self._tracked.pop(result)
        marks = [mark for mark, stage in filter(None, notes) if stage < 2]
        if len(marks) == 2:
            self.met.append((marks[0], marks[1]))
        if marks:
            self._tracked[result] = (marks, 2)

    def _use(self, tensors: Sequence[Any], how: str) -> None:
        for tensor in tensors:
            mark, stage = self._tracked.get(tensor) or (None, 0)
            for one in mark if isinstance(mark, list) else [mark] if mark else []:
                one.uses[stage].append(how)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(value)
    return found
