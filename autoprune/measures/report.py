"""The report of what pruning took away."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.display import Shown

_PARAMS = ("params", "params left", "non-zero", "sparsity", "pruned", "compression")
_MACS = ("MACs", "MACs left", "effective", "speed-up")
_BYTES = ("bytes", "bytes left", "sparse bytes")
_HEADERS = ("layer", *_PARAMS, *_MACS, *_BYTES)


@dataclass(frozen=True)
class Measured:
    """Measures of one layer, or of the whole network.

    Attributes:
        name: Path of the module that owns the parameters (empty for the root's own).
        dense_params: Parameter elements in the dense network.
        params: Parameter elements now.
        nonzeros: Parameter elements that are not zero now.
        dense_macs: Multiply-accumulates of the dense layer (None if no inputs were given).
        macs: Multiply-accumulates now, zeros included: what dense kernels do.
        effective_macs: `macs` x density of the weight, summed over weights: what is left where zeros cost
            nothing. Products of two activations count in full.
        dense_bytes: Tensor data of the dense layer on disk, parameters and buffers, without file headers.
        bytes: The same now.
        sparse_bytes: Estimate of the same if every tensor of two or more dimensions is stored as CSR where
            that is smaller (values, 32-bit column indices and row pointers; a row per index of dimension 0).
    """

    name: str
    dense_params: int
    params: int
    nonzeros: int
    dense_macs: int | None
    macs: int | None
    effective_macs: int | None
    dense_bytes: int
    bytes: int
    sparse_bytes: int

    @property
    def sparsity(self) -> float:
        """Share of zeros among the parameters that there are now, in 0..1."""
        return 1 - self.nonzeros / self.params if self.params else 0.0

    @property
    def pruned_percent(self) -> float:
        """Percent of the dense network's parameters that are gone or zero now."""
        return 100 * (1 - self.nonzeros / self.dense_params) if self.dense_params else 0.0

    @property
    def compression(self) -> float:
        """Compression ratio: dense parameters / non-zeros (Blalock et al. 2020, arXiv:2003.03033)."""
        return _ratio(self.dense_params, self.nonzeros)

    @property
    def speedup(self) -> float | None:
        """Theoretical speed-up: dense MACs / effective MACs (ibid.); None if no inputs were given."""
        if self.dense_macs is None or self.effective_macs is None:
            return None
        return _ratio(self.dense_macs, self.effective_macs)

    def as_dict(self) -> dict[str, Any]:
        """All measures by name, the derived ones too."""
        derived = ("sparsity", "pruned_percent", "compression", "speedup")
        return asdict(self) | {name: getattr(self, name) for name in derived}


@dataclass(frozen=True, repr=False)
class Measures(Shown):
    """Measures of a pruned network against the dense one; printing it gives a table.

    Attributes:
        layers: One entry per module that owns parameters or does work, in network order, and one named
            "(no parameter)" for products of two activations where there are any.
    """

    layers: tuple[Measured, ...]

    @property
    def total(self) -> Measured:
        """The whole network."""
        return Measured("total", **{name: _sum(self.layers, name) for name in _COUNTS})

    def layer(self, name: str) -> Measured:
        """The entry of that module.

        Raises:
            KeyError: There is none.
        """
        return self._by_name[name]

    @property
    def _by_name(self) -> Mapping[str, Measured]:
        return {layer.name: layer for layer in self.layers}

    def as_dict(self) -> dict[str, Any]:
        """`{"total": {...}, "layers": [{...}, ...]}`, fit for JSON but for infinite ratios."""
        return {"total": self.total.as_dict(), "layers": [layer.as_dict() for layer in self.layers]}

    def __str__(self) -> str:
        rows = [_HEADERS, *(_row(layer) for layer in (*self.layers, self.total))]
        if self.total.macs is None:
            start = _HEADERS.index(_MACS[0])
            rows = [row[:start] + row[start + len(_MACS) :] for row in rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


_COUNTS = tuple(name for name in Measured.__dataclass_fields__ if name != "name")


def _sum(layers: Sequence[Measured], name: str) -> Any:
    values = [getattr(layer, name) for layer in layers]
    return None if None in values else sum(values)


def _ratio(dense: int, now: int) -> float:
    if now:
        return dense / now
    return math.inf if dense else 1.0


def _row(m: Measured) -> tuple[str, ...]:
    return (
        m.name or "(root)",
        f"{m.dense_params:,}",
        f"{m.params:,}",
        f"{m.nonzeros:,}",
        f"{m.sparsity:.1%}",
        f"{m.pruned_percent:.1f}%",
        f"{m.compression:.2f}x",
        _count(m.dense_macs),
        _count(m.macs),
        _count(m.effective_macs),
        "" if m.speedup is None else f"{m.speedup:.2f}x",
        f"{m.dense_bytes:,}",
        f"{m.bytes:,}",
        f"{m.sparse_bytes:,}",
    )


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        f"{row[0]:<{widths[0]}}",
        *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True)),
    )
    return "  ".join((first, *others)).rstrip()
