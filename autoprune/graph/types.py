"""What a trace yields: groups of units, layers, and the cost of any candidate as exact arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from math import prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn

    from autoprune.graph.rewriter import Rewriter

Indices = NDArray[np.int64]

INEXACT = "inexact: "
"""How a reason or note begins that tells of units whose removal changes those that stay."""


class Member(NamedTuple):
    """One slice that a unit occupies: `indices` along dimension `dim` of the tensor named `parameter`."""

    parameter: str
    dim: int
    indices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Axis:
    """Where the units of a group lie along one dimension of one parameter or buffer.

    Attributes:
        parameter: Name of the tensor in the model's `state_dict` (the first name, where it is shared).
        dim: The dimension.
        indices: Shape (group size, k); row u holds the k positions that unit u occupies.
    """

    parameter: str
    dim: int
    indices: Indices


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that must be pruned together, over all layers that they run through: one action of the search.

    All units of a group are alike: they occupy the same number of positions in the same dimensions, so
    that any cost depends on how many of them stay, never on which.

    Attributes:
        name: Parameter path of the first producer, for example `layer1.0.conv1.weight`; made unique by a
            suffix `:1`, `:2`, ... where one producer feeds several groups.
        size: Number of units.
        axes: Every tensor dimension that the units run through, buffers included.
        reason: Why the group is locked; empty if it can be pruned.
        note: What a user should know although the group can be pruned (for example, why it is inexact).
    """

    name: str
    size: int
    axes: tuple[Axis, ...]
    reason: str = ""
    note: str = ""

    def __repr__(self) -> str:
        note = f", note={self.note!r}" if self.note else ""
        lock = f", reason={self.reason!r}" if self.reason else ""
        return f"Group({self.name!r}, size={self.size}, {len(self.axes)} axes{lock}{note})"

    @property
    def prunable(self) -> bool:
        """Whether units of this group may be removed."""
        return not self.reason

    @property
    def exact(self) -> bool:
        """Whether removing units is the same as zeroing them; not so where a normalization runs over them."""
        return INEXACT not in self.note

    @cached_property
    def members(self) -> tuple[tuple[Member, ...], ...]:
        """For every unit, the slices that it occupies."""
        return tuple(
            tuple(Member(a.parameter, a.dim, tuple(int(i) for i in a.indices[unit])) for a in self.axes)
            for unit in range(self.size)
        )


@dataclass(frozen=True)
class Extent:
    """The size of one dimension as a function of the widths: `fixed + sum(k * width(group))`."""

    fixed: int
    parts: tuple[tuple[str, int], ...] = ()

    def __call__(self, widths: Mapping[str, int]) -> int:
        """The size for complete widths."""
        return self.fixed + sum(k * widths[name] for name, k in self.parts)


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer (one weight), with everything that costs and calibration need.

    Attributes:
        name: Path of the module that owns the weight (empty if the weight is an attribute of the root).
        kind: "conv", "conv_transposed" or "linear".
        weight: Name of the weight, shape (out, in / groups, *kernel), or (in, out / groups, *kernel) if
            transposed.
        bias: Name of the bias, or None.
        kernel_size: Spatial kernel size; empty for linear layers.
        stride: Stride per spatial dimension.
        padding: Padding per spatial dimension (as numbers).
        dilation: Dilation per spatial dimension.
        inputs: Total number of input channels.
        outputs: Total number of output channels.
        groups: Number of convolution groups (1 for linear layers).
        positions: Output positions per forward pass of the example inputs, over the batch and all calls.
        calls: How many times the weight is used in one forward pass.
    """

    name: str
    kind: str
    weight: str
    bias: str | None
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    inputs: Extent
    outputs: Extent
    groups: Extent
    positions: int
    calls: int = 1


@dataclass(frozen=True)
class Term:
    """One summand of a cost: `coefficient * product(factors)`, all exact integers; `divisor` divides exactly.

    A grouped convolution costs positions * kernel * inputs * outputs / groups, hence the divisor.

    Attributes:
        owner: Layer name or parameter name that the cost is shown under.
        coefficient: Constant factor.
        factors: Dimensions that vary with the widths.
        divisor: Optional extent that divides the product.
    """

    owner: str
    coefficient: int
    factors: tuple[Extent, ...]
    divisor: Extent | None = None

    def __call__(self, widths: Mapping[str, int]) -> int:
        """The cost for complete widths."""
        value = self.coefficient * prod(f(widths) for f in self.factors)
        return value if self.divisor is None else value // self.divisor(widths)


@dataclass(frozen=True, eq=False)
class PruneGraph:
    """Everything that the trace knows of a network.

    Attributes:
        groups: All groups in network order, the locked ones too.
        layers: Convolutions and linear layers in network order.
        mac_terms: MACs of one forward pass of the example inputs, as terms over the widths. They cover all
            that `torch.utils.flop_counter` counts (convolutions, linear layers, matrix products).
        param_terms: Elements of every trainable or frozen parameter (no buffers), as terms over the widths.
        fingerprint: Names and shapes of the model's parameters and buffers, in order.
        model: The network itself, without wrappers; None in a graph that was made by hand.
        inputs: The example inputs of the trace; None in a graph that was made by hand.
        heads: Whether units of attention are whole heads; else they are one channel of every head.
        inexact: Whether the trace left channels prunable that a normalization runs over.
        form: What a pruned network is: the model's own class with smaller tensors, or the rewritten exported
            graph. "class" until `autoprune.surgery.proven` has run the network.
        form_reason: Why; empty as long as nobody has looked.
        rewriter: Makes pruned networks of the form "graph"; else None.
    """

    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]
    mac_terms: tuple[Term, ...]
    param_terms: tuple[Term, ...]
    fingerprint: Mapping[str, tuple[int, ...]] = field(repr=False)
    model: "nn.Module | None" = field(default=None, repr=False)
    inputs: Any = field(default=None, repr=False)
    heads: bool = True
    inexact: bool = False
    form: Literal["class", "graph"] = "class"
    form_reason: str = ""
    rewriter: "Rewriter | None" = field(default=None, repr=False)

    def __repr__(self) -> str:
        from autoprune.graph.text import graph_table

        return graph_table(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @cached_property
    def prunable(self) -> tuple[Group, ...]:
        """The groups that a search may prune, in network order."""
        return tuple(g for g in self.groups if g.prunable)

    @cached_property
    def _by_name(self) -> dict[str, Group]:
        return {g.name: g for g in self.groups}

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            ArgumentError: There is none; the message names the nearest.
        """
        if name not in self._by_name:
            from difflib import get_close_matches

            near = get_close_matches(name, self._by_name, n=1, cutoff=0)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ArgumentError(f"the graph has no group named '{name}'{hint}")
        return self._by_name[name]

    def widths(self, widths: Mapping[str, int] | None = None) -> dict[str, int]:
        """Complete `widths` with the dense width of every group that is missing.

        Args:
            widths: Number of units that stay, by group name.

        Raises:
            ArgumentError: An unknown group, a width outside 1..size, or a locked group below its size.
        """
        full = {g.name: g.size for g in self.groups}
        for name, width in (widths or {}).items():
            group = self.group(name)
            if not 1 <= width <= group.size:
                raise ArgumentError(f"widths['{name}'] must lie in 1..{group.size}, got {width}")
            if width < group.size and not group.prunable:
                raise ArgumentError(
                    f"widths['{name}'] must stay {group.size}: the group is locked ({group.reason})"
                )
            full[name] = int(width)
        return full

    def macs(self, widths: Mapping[str, int] | None = None) -> int:
        """MACs of one forward pass of the example inputs; groups missing from `widths` are dense."""
        full = self.widths(widths)
        return sum(term(full) for term in self.mac_terms)

    def params(self, widths: Mapping[str, int] | None = None) -> int:
        """Number of parameter elements; groups missing from `widths` are dense."""
        full = self.widths(widths)
        return sum(term(full) for term in self.param_terms)

    def locked(self, reasons: Mapping[str, str]) -> "PruneGraph":
        """The same graph with further groups locked.

        Args:
            reasons: Group name -> why it is locked; added to the reasons that a group already has.
        """
        for name in reasons:
            self.group(name)
        groups = tuple(
            replace(g, reason="; ".join(filter(None, (g.reason, reasons[g.name]))))
            if g.name in reasons
            else g
            for g in self.groups
        )
        return replace(self, groups=groups)

    def keep(self, keep: Mapping[str, Sequence[int]]) -> dict[str, Indices]:
        """Check `keep` (unit indices that stay, by group name) and complete it with the dense groups."""
        full = {g.name: np.arange(g.size, dtype=np.int64) for g in self.groups}
        for name, units in keep.items():
            size = self.group(name).size
            chosen = np.unique(np.asarray(units, dtype=np.int64))
            if len(chosen) != len(units) or len(chosen) == 0 or chosen[0] < 0 or chosen[-1] >= size:
                raise ArgumentError(
                    f"keep['{name}'] must hold distinct unit indices in 0..{size - 1}, at least one"
                )
            full[name] = chosen
        self.widths({name: len(full[name]) for name in keep})
        return full

    def slices(self, keep: Mapping[str, Sequence[int]]) -> dict[str, dict[int, Indices]]:
        """Turn units that stay into the indices that stay of every tensor dimension that loses some.

        Args:
            keep: Unit indices that stay, by group name; missing groups are dense.

        Returns:
            `{tensor name: {dim: sorted indices that stay}}`, touched dimensions only.
        """
        full = self.keep(keep)
        stays: dict[tuple[str, int], NDArray[np.bool_]] = {}
        for group in self.groups:
            if len(full[group.name]) == group.size:
                continue
            gone = np.ones(group.size, dtype=bool)
            gone[full[group.name]] = False
            for axis in group.axes:
                size = self.fingerprint[axis.parameter][axis.dim]
                stays.setdefault((axis.parameter, axis.dim), np.ones(size, dtype=bool))[
                    axis.indices[gone]
                ] = False
        result: dict[str, dict[int, Indices]] = {}
        for (name, dim), mask in stays.items():
            result.setdefault(name, {})[dim] = np.flatnonzero(mask)
        return result
