"""Hand-built pruning graphs: the costs of real architectures without a model behind them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.graph.types import Extent, Group, Layer, PruneGraph, Term


def of(name: str, k: int = 1, fixed: int = 0) -> Extent:
    """The extent `fixed + k * width(name)`."""
    return Extent(fixed, ((name, k),))


class Builder:
    """Collects groups and layers; costs follow from the layers."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.layers: list[Layer] = []
        self.macs: list[Term] = []
        self.params: list[Term] = []

    def group(self, name: str, size: int, reason: str = "") -> Extent:
        self.groups.append(Group(name, size, (), reason))
        return of(name)

    def conv(
        self,
        inputs: Extent,
        outputs: Extent,
        kernel: int = 3,
        side: int = 8,
        stride: int = 1,
        groups: Extent | None = None,
    ) -> None:
        name, split = f"layer{len(self.layers)}", groups or Extent(1)
        self.layers.append(
            Layer(
                name,
                "conv",
                f"{name}.weight",
                None,
                (kernel, kernel),
                (stride, stride),
                (kernel // 2,) * 2,
                (1, 1),
                inputs,
                outputs,
                split,
                side * side,
            )
        )
        self._cost(name, kernel * kernel, side * side, inputs, outputs, groups)

    def linear(self, inputs: Extent, outputs: Extent) -> None:
        name = f"layer{len(self.layers)}"
        self.layers.append(
            Layer(name, "linear", f"{name}.weight", None, (), (), (), (), inputs, outputs, Extent(1), 1)
        )
        self._cost(name, 1, 1, inputs, outputs, None)

    def _cost(
        self, name: str, area: int, positions: int, inputs: Extent, outputs: Extent, groups: Extent | None
    ) -> None:
        self.macs.append(Term(name, area * positions, (inputs, outputs), groups))
        self.params.append(Term(f"{name}.weight", area, (inputs, outputs), groups))
        self.params.append(Term(f"{name}.bias", 1, (outputs,)))

    def build(self) -> PruneGraph:
        return PruneGraph(tuple(self.groups), tuple(self.layers), tuple(self.macs), tuple(self.params), {})


def padded_resnet(blocks: int = 9, stages: Sequence[int] = (16, 32, 64)) -> PruneGraph:
    """A CIFAR ResNet with padded shortcuts (56 layers by default): only inner channels can be pruned."""
    b = Builder()
    stream = b.group("stem", stages[0], "padded")
    b.conv(Extent(3), stream, side=32)
    for stage, channels in enumerate(stages):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = b.group(f"{stage}.{block}", channels)
            b.conv(stream, inner, side=32 >> stage, stride=stride)
            if stride == 2:
                stream = b.group(f"stream{stage}", channels, "padded")
            b.conv(inner, stream, side=32 >> stage)
    b.linear(stream, Extent(10))
    return b.build()


def residual(streams: Sequence[int] = (16, 32), blocks: int = 3) -> PruneGraph:
    """A ResNet with projections: inner channels and residual streams can be pruned, costs are products."""
    b = Builder()
    previous: Extent = Extent(3)
    for stage, channels in enumerate(streams):
        stream = b.group(f"stream{stage}", channels)
        b.conv(previous, stream, kernel=1 if stage else 3, side=16 >> stage, stride=1 + (stage > 0))
        for block in range(blocks):
            inner = b.group(f"{stage}.{block}", channels)
            b.conv(stream, inner, side=16 >> stage)
            b.conv(inner, stream, side=16 >> stage)
        previous = stream
    b.linear(previous, Extent(10))
    return b.build()


def mobile(sizes: Sequence[int] = (8, 12, 16)) -> PruneGraph:
    """Inverted residuals: every group runs through a depthwise convolution, inputs * outputs / groups."""
    b = Builder()
    stream = b.group("stream", 8)
    b.conv(Extent(3), stream, stride=2)
    for i, size in enumerate(sizes):
        inner = b.group(f"inner{i}", size)
        b.conv(stream, inner, kernel=1)
        b.conv(inner, inner, kernel=3, groups=inner)
        b.conv(inner, stream, kernel=1)
    b.linear(stream, Extent(10))
    return b.build()


def concat(growth: int = 6, layers: int = 4) -> PruneGraph:
    """A dense block: every layer reads all groups before it, the last one an odd offset."""
    b = Builder()
    parts = [b.group(f"g{i}", growth + i) for i in range(layers)]
    for i, part in enumerate(parts):
        b.conv(Extent(3, tuple(p.parts[0] for p in parts[:i])), part)
    b.linear(Extent(5, tuple((p.parts[0][0], 4) for p in parts)), Extent(10))
    return b.build()


def grouped() -> PruneGraph:
    """Grouped convolutions: a constant number of groups, whole groups as units, a quotient that stays one."""
    b = Builder()
    a, c, d = b.group("a", 8), b.group("c", 6), b.group("d", 5)
    b.conv(of("a", 4), of("c", 4), groups=Extent(4))
    b.conv(of("c", 3), of("c", 2), groups=of("c"))
    b.conv(Extent(0, (("d", 2), ("a", 2))), of("d", 7), groups=Extent(0, (("d", 1), ("a", 1))))
    b.macs.append(Term("attention", 3, (a, c, d)))
    return b.build()


ALL = (lambda: padded_resnet(2), residual, mobile, concat, grouped)


def random_graph(rng: np.random.Generator, groups: int = 4, largest: int = 9) -> PruneGraph:
    """Convolutions between random groups, one of them locked now and then."""
    b = Builder()
    extents = [
        b.group(f"g{i}", int(rng.integers(1, largest + 1)), "locked" if i and rng.random() < 0.2 else "")
        for i in range(groups)
    ]
    previous = Extent(3)
    for extent in extents:
        b.conv(previous, extent, kernel=int(rng.choice([1, 3])), side=int(rng.integers(1, 9)))
        previous = extent
    for _ in range(groups):
        source, target = rng.choice(groups, 2)
        b.conv(extents[source], extents[target], kernel=1, side=int(rng.integers(1, 9)))
    b.linear(Extent(int(rng.integers(0, 4)), previous.parts), Extent(10))
    return b.build()


def random_widths(graph: PruneGraph, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Any widths from one unit to all, shape (count, n)."""
    sizes = np.array([g.size for g in graph.prunable])
    return rng.integers(1, sizes + 1, (count, len(sizes)))


def random_curves(
    graph: PruneGraph, rng: np.random.Generator, convex: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Falling errors from 1 (nothing stays) to 0 (everything does), by group."""
    curves = {}
    for group in graph.prunable:
        drops = rng.random(group.size) ** 3 + 1e-3
        drops = np.sort(drops)[::-1] if convex else drops
        curve = 1 - np.concatenate([[0.0], np.cumsum(drops) / drops.sum()])
        curve[-1] = 0.0
        curves[group.name] = curve * rng.uniform(0.1, 1)
    return curves
