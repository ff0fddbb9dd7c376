"""Whole networks: made for any widths, timed beside each other, and what they say about the table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autoprune.graph import PruneGraph
from autoprune.graph.export import unwrap
from autoprune.latency.backends import prepare
from autoprune.latency.clock import Clock, interleaved_ms, pinned
from autoprune.latency.cost import LatencyCost
from autoprune.latency.target import Target
from autoprune.surgery.changes import Surgery
from autoprune.surgery.slicer import Slicer
from autoprune.train.evaluate import inference

LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of the widths of the networks beside the dense one that are anchors, about: layers differ in theirs,
as those of candidates do."""

STEPS = (1, 4, 8, 16)
"""Multiples of channels that are tried on whole networks."""

MUCH = 0.6
"""A larger multiple must take at most this share of the time per MAC of a smaller one: it leaves fewer widths
to choose from, and what is lost by that must be won elsewhere."""


@dataclass(frozen=True)
class Timed:
    """What timing a whole pruned network beside the dense one gave.

    Attributes:
        dense_ms: Median of the dense network.
        found_ms: Median of the pruned one.
        predicted_ms: What the table said of it.
        limit_ms: The most that the budget allows, on the scale of `found_ms`; None without such a limit.
        spread: Of several measurements, the longest over the median, which `found_ms` is.
        factor: The factor of the table in the end.
        rounds: How often the bias of the table was corrected.
        note: What a reader must know, for example that the table is of another machine.
    """

    dense_ms: float
    found_ms: float
    predicted_ms: float
    limit_ms: float | None = None
    spread: float = 1.0
    factor: float = 1.0
    rounds: int = 0
    note: str = ""

    @property
    def error(self) -> float:
        """Relative error of the prediction: positive if it was too slow."""
        return self.predicted_ms / self.found_ms - 1

    @property
    def speedup(self) -> float:
        """Dense time by pruned time."""
        return self.dense_ms / self.found_ms

    @property
    def holds(self) -> bool:
        """Whether the measured time is within the budget."""
        return self.limit_ms is None or self.found_ms <= self.limit_ms

    def __str__(self) -> str:
        parts = [
            f"measured {self.found_ms:.3f} ms against {self.dense_ms:.3f} ms dense "
            f"({100 * self.found_ms / self.dense_ms:.1f}%, {self.speedup:.2f}x)",
            f"predicted {self.predicted_ms:.3f} ms (error {100 * self.error:+.1f}%)",
        ]
        if self.spread > 1:
            parts[0] += f", the longest of several measurements {self.found_ms * self.spread:.3f} ms"
        if self.limit_ms is not None:
            parts.append(f"limit {self.limit_ms:.3f} ms {'holds' if self.holds else 'DOES NOT HOLD'}")
        if self.rounds:
            parts.append(f"the table's bias was corrected {self.rounds} times, factor {self.factor:.3f}")
        return "; ".join([*parts, *([self.note] if self.note else [])])


def candidate(model: nn.Module, graph: PruneGraph, widths: Mapping[str, int]) -> nn.Module:
    """A network of these widths in evaluation mode: right in shape, with the first units of every group."""
    keep = {name: range(width) for name, width in graph.widths(widths).items()}
    if graph.rewriter is not None:
        return graph.rewriter(keep).eval()
    network = unwrap(model)
    changed = Surgery(graph, network)(keep)
    return Slicer(network)(changed.slices, changed.modules).eval()


def time_networks(
    networks: Sequence[nn.Module],
    example_inputs: Any,
    target: Target,
    *,
    rounds: int = 30,
    warmup: int = 5,
    clock: Clock = time.perf_counter,
) -> list[float]:
    """Median milliseconds of one forward pass of each, interleaved, with the target's backend and threads.

    Args:
        networks: Any modules; their modes are restored.
        example_inputs: What each is run on.
        target: Backend and threads.
        rounds: Timed passes of each.
        warmup: Passes before.
        clock: What tells the time.

    Raises:
        ArgumentError: The backend is not installed.
        ModelError: The backend refuses a network.
    """
    from contextlib import ExitStack

    with pinned(target.threads), ExitStack() as stack:
        for network in networks:
            stack.enter_context(inference(network))
        runs = [prepare(target.backend, network, example_inputs, target.threads) for network in networks]
        return interleaved_ms(runs, rounds=rounds, warmup=warmup, clock=clock)


def anchored(
    cost: LatencyCost,
    model: nn.Module,
    graph: PruneGraph,
    example_inputs: Any,
    target: Target,
    *,
    round_to: int = 1,
    rounds: int = 20,
    beside: Sequence[nn.Module] = (),
) -> list[float]:
    """Time whole networks of several widths, the dense one first, and make them the anchors of a cost.

    Args:
        cost: Gets the anchors.
        model: The dense network.
        graph: Its groups.
        example_inputs: What the networks are run on.
        target: Backend and threads.
        round_to: Of which the widths are multiples, as those of the candidates will be.
        rounds: Timed passes of each, interleaved.
        beside: Further networks that are timed in turns with these.

    Returns:
        The measured milliseconds, those of the further networks behind the others.
    """
    vectors = [_sizes(graph), *(_around(graph, level, round_to) for level in LEVELS)]
    networks = [unwrap(model), *(_network(model, graph, vector) for vector in vectors[1:])]
    times = time_networks([*networks, *beside], example_inputs, target, rounds=rounds)
    cost.anchors = tuple(zip((float(cost.raw(v)) for v in vectors), times[: len(vectors)], strict=True))
    return times


def best_step(
    model: nn.Module,
    graph: PruneGraph,
    example_inputs: Any,
    target: Target,
    *,
    rounds: int = 20,
) -> int:
    """In whose multiples of channels whole networks are much faster: the smallest worth it of `STEPS`.

    Kernels work on blocks of channels, and a network that keeps to them may keep a faster order of memory all
    through, which no layer by itself shows. Networks of the same uneven widths, about half, rounded down to
    each multiple, are timed beside each other; what counts is time per MAC.

    Args:
        model: The dense network.
        graph: Its groups.
        example_inputs: What the networks are run on.
        target: Backend and threads.
        rounds: Timed passes of each, interleaved.
    """
    vectors = [_around(graph, 0.5, step) for step in STEPS]
    times = time_networks([_network(model, graph, v) for v in vectors], example_inputs, target, rounds=rounds)
    macs = [graph.macs(_named(graph, vector)) for vector in vectors]
    found, best = STEPS[0], times[0] / macs[0]
    for step, ms, count in zip(STEPS[1:], times[1:], macs[1:], strict=True):
        if ms / count <= MUCH * best:
            found, best = step, ms / count
    return found


def _sizes(graph: PruneGraph) -> NDArray[np.int64]:
    return np.array([group.size for group in graph.prunable], np.int64)


def _around(graph: PruneGraph, level: float, round_to: int) -> NDArray[np.int64]:
    """Widths about a share of the dense ones, every group its own; too small groups are not rounded."""
    sizes = _sizes(graph)
    shares = level * np.random.default_rng(round(100 * level)).uniform(0.6, 1.4, len(sizes))
    widths = np.clip((shares * sizes).astype(np.int64), 1, sizes)
    return np.where(widths < round_to, np.minimum(sizes, round_to), widths // round_to * round_to)


def _named(graph: PruneGraph, vector: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip((group.name for group in graph.prunable), vector.tolist(), strict=True))


def _network(model: nn.Module, graph: PruneGraph, vector: NDArray[np.int64]) -> nn.Module:
    return candidate(model, graph, _named(graph, vector))
