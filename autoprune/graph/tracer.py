"""The state of one trace and the vocabulary of the rules: unite, tie, forbid, lock, cost."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from autoprune.graph.export import Exported
from autoprune.graph.types import INEXACT
from autoprune.graph.unionfind import Ids, UnionFind
from autoprune.graph.values import Label, Value


@dataclass(frozen=True)
class Settings:
    """What a trace may do beyond the exact and unconditional.

    Attributes:
        inexact: Leave channels prunable that a normalization runs over, with a note on the group.
        rewritten: Leave channels prunable that are cut at constant indices, for a pruned network that is run
            as the rewritten exported graph; the model's own forward cannot follow such a cut. Shuffled
            channels are then free too, and so are the channels of queries and keys, because the rewritten
            graph keeps the dense network's scale.
        heads: Units of attention are whole heads; else they are one channel of every head. Where an operation
            ties the heads, or the channels inside of a head, what it leaves free is taken.
    """

    inexact: bool = False
    rewritten: bool = False
    heads: bool = True


@dataclass(frozen=True)
class Dim:
    """Dimension `dim` of `value`: a factor of a cost, whose size depends on the widths."""

    value: Value
    dim: int


@dataclass(frozen=True)
class Cost:
    """MACs of one op: `coefficient * product(factors)`."""

    owner: str
    coefficient: int
    factors: tuple[Dim, ...]


@dataclass
class LayerUse:
    """The weight of a convolution or linear layer, over all its uses; fields as in `types.Layer`."""

    kind: str
    weight: str
    bias: str | None
    inputs: Dim
    outputs: Dim
    positions: int
    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    group_ids: Ids | None = None
    calls: int = 1


@dataclass
class Tracer:
    """State of one trace.

    Attributes:
        exported: The model's graph and tensors.
        settings: What the trace may do.
        sets: Union-find over all ids.
        axes: (tensor name, dim) -> its ids, for every labeled dimension of a parameter or buffer.
        producers: (tensor name, dim) -> time of the op that first emits these ids as channels.
        touched: Tensor name -> time of the first op that reads it.
        locks: (ids, reason) in graph order.
        notes: (ids, note) in graph order.
        hidden: (tensor name, dim) of kernel dimensions, which are no channels and not reported.
        parts: Ids of parts that are cut out in a rewritten graph; one of each always stays.
        pending: Ids that vary along several dimensions; at the end they may vary along one only.
        costs: MACs of every op that has any.
        layers: Weight name -> its use as convolution or linear layer.
        time: Number of the op that is being handled.
    """

    exported: Exported
    settings: Settings = field(default_factory=Settings)
    sets: UnionFind = field(default_factory=UnionFind)
    axes: dict[tuple[str, int], Ids] = field(default_factory=dict)
    producers: dict[tuple[str, int], int] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)
    locks: list[tuple[Ids, str]] = field(default_factory=list)
    notes: list[tuple[Ids, str]] = field(default_factory=list)
    hidden: set[tuple[str, int]] = field(default_factory=set)
    parts: list[Ids] = field(default_factory=list)
    pending: list[Ids] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    layers: dict[str, LayerUse] = field(default_factory=dict)
    time: int = 0
    _values: dict[str, Value] = field(default_factory=dict)

    def find(self, ids: Ids) -> Ids:
        """Representatives of `ids`, same shape."""
        return self.sets.find(ids)

    def unite(self, a: Ids, b: Ids) -> None:
        """Units of `a` and `b` at the same (broadcast) position stay or go together."""
        self.sets.unite(a, b)

    def lock(self, what: Ids | Label | Value | Iterable[Label], reason: str) -> None:
        """Never prune these units."""
        self.locks += [(ids.ravel(), reason) for ids in _ids_of(what) if ids.size]

    def note(self, what: Ids | Label | Value | Iterable[Label], text: str) -> None:
        """Tell the user something about these units although they can be pruned."""
        self.notes += [(ids.ravel(), text) for ids in _ids_of(what) if ids.size]

    def inexact(self, what: Ids | Label | Value | Iterable[Label], why: str) -> None:
        """Pruning these units changes the others: lock them, or only say so if the user allows it."""
        if self.settings.inexact:
            self.note(what, INEXACT + why)
        else:
            self.lock(what, INEXACT + why)

    def locked(self, count: int, reason: str) -> Ids:
        """Fresh ids that stay forever, for positions that no parameter produces; shape (count,)."""
        ids = self.sets.new(count)
        self.lock(ids, reason)
        return ids

    def keep_one(self, part: Ids, reason: str) -> None:
        """Of these units, at least one must stay; a single one is locked."""
        if len(np.unique(part)) > 1:
            self.parts.append(part.ravel())
        else:
            self.lock(part, reason)

    def tie(self, label: Label, dim: int) -> Label:
        """Unite the ids of `label` along `dim`, so that it no longer varies along it."""
        first = label.ids.take([0], axis=dim)
        self.unite(label.ids, first)
        return Label(first, label.zero)

    def forbid(self, label: Label, dims: Collection[int], reason: str) -> Label | None:
        """The units may not vary along `dims`: tie them there, or lock them if they vary along nothing else.

        Returns:
            The label, varying along its other dimensions only; None if it is locked.
        """
        inside = [d for d in label.dims if d in dims]
        if len(inside) == len(label.dims):
            self.lock(label, reason)
            return None
        for d in inside:
            label = self.tie(label, d)
        return label

    def produce(self, value: Value, dim: int) -> None:
        """Note that dimension `dim` of the parameter `value` becomes channels of an activation here."""
        if value.parameter:
            self.producers.setdefault((value.parameter, dim), self.time)

    def hide(self, value: Value, dims: Iterable[int]) -> None:
        """Take dimensions of a parameter for a kernel: never pruned, not reported."""
        for dim in dims:
            self.lock(value.along(dim), "kernel dimension")
            if value.parameter:
                self.hidden.add((value.parameter, dim))

    def cost(self, owner: str, coefficient: int, factors: Sequence[Dim] = ()) -> None:
        """Count `coefficient * product(sizes of factors)` MACs under `owner`."""
        self.costs.append(Cost(owner, coefficient, tuple(factors)))

    def use_layer(self, use: LayerUse) -> None:
        """Record a layer, or one more call of a layer that is known."""
        known = self.layers.setdefault(use.weight, use)
        if known is not use:
            known.positions += use.positions
            known.calls += 1

    def touch(self, value: Value) -> None:
        """Note that an op reads this value."""
        if value.parameter:
            self.touched.setdefault(value.parameter, self.time)

    def tensor(self, name: str) -> Value:
        """The parameter or buffer called `name` in the `state_dict`, one label per dimension."""
        if name not in self._values:
            self._values[name] = self._label(name)
        return self._values[name]

    def _label(self, name: str) -> Value:
        tensor = self.exported.tensors[name]
        shape = tuple(tensor.shape)
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return Value(shape, (), name, tensor.dtype, f"the integer tensor {name}")
        labels = []
        for dim, size in enumerate(shape):
            if size > 1:
                self.axes[name, dim] = ids = self.sets.new(size)
                labels.append(Label(ids.reshape([-1 if d == dim else 1 for d in range(len(shape))]), True))
        return Value(shape, tuple(labels), name, tensor.dtype)


def _ids_of(what: Ids | Label | Value | Iterable[Label]) -> Iterator[Ids]:
    if isinstance(what, np.ndarray):
        yield what
    elif isinstance(what, Label):
        yield what.ids
    elif isinstance(what, Value):
        yield from (label.ids for label in what.labels)
    else:
        yield from (label.ids for label in what)
