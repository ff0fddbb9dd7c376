"""Measure layers: those of a network, or a list that came from another machine."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoprune.errors import ArgumentError
from autoprune.files import StrPath
from autoprune.graph import PruneGraph, trace_program
from autoprune.latency.backends import check_backend
from autoprune.latency.clock import Clock, median_ms, pinned
from autoprune.latency.grid import grid
from autoprune.latency.runs import runs_of
from autoprune.latency.segments import Segment, segments_of
from autoprune.latency.stored import RequestsFile, Wanted, read, write
from autoprune.latency.table import LatencyTable
from autoprune.latency.target import Target

logger = logging.getLogger(__name__)

OnLayer: TypeAlias = Callable[[str, int, int], None]
"""Told the layer, how many are done and how many there are: before every layer, and after the last."""

POINTS = {"eager": 17, "compile": 5, "onnxruntime": 17}
"""Values of a variable by backend: a compiler takes its time at every point."""


@dataclass(frozen=True)
class Requests:
    """What is to be measured, without any network: made on one machine, measured on another.

    Attributes:
        target: The settings wanted: backend, threads, batch, type. The machine is the one that asks.
        layers: Layers and points.
    """

    target: Target
    layers: tuple[Wanted, ...]

    def save(self, path: StrPath) -> None:
        """Write the requests as JSON in one step."""
        write(path, RequestsFile(target=self.target, layers=self.layers))

    @classmethod
    def load(cls, path: StrPath) -> "Requests":
        """Read requests.

        Raises:
            ArgumentError: The file is missing, damaged or something else.
        """
        file = read(RequestsFile, path, "latency requests")
        return cls(file.target, file.layers)


def requests_of(segments: Iterable[Segment], target: Target, *, points: int | None = None) -> Requests:
    """What it takes to predict a network: every distinct layer once, over a grid up to its largest size.

    Args:
        segments: From `segments_of`, of one or several networks.
        target: Machine and settings that are wanted.
        points: Values per variable, about; None takes 17, for `compile` 5.

    Raises:
        ArgumentError: `points` below 2, or an unknown backend.
    """
    check_backend(target.backend)
    count = POINTS[target.backend] if points is None else points
    if count < 2:
        raise ArgumentError(f"points must be at least 2, got {count}")
    largest: dict[str, tuple[Segment, tuple[int, ...]]] = {}
    for segment in segments:
        key = segment.template.key
        known = largest[key][1] if key in largest else segment.sizes
        largest[key] = (segment, tuple(map(max, known, segment.sizes)))
    layers = (Wanted(template=s.template, points=tuple(grid(sizes, count))) for s, sizes in largest.values())
    return Requests(target, tuple(layers))


def measure(
    requests: Requests,
    *,
    repeats: int = 20,
    warmup: int = 5,
    clock: Clock = time.perf_counter,
    on_layer: OnLayer | None = None,
) -> LatencyTable:
    """Measure a list of layers here, with the settings that it asks for.

    Args:
        requests: The list.
        repeats: Timed runs of every point; their median counts.
        warmup: Runs before.
        clock: What tells the time.
        on_layer: Told of the progress.

    Raises:
        ArgumentError: A backend that is not installed, or ops that this PyTorch does not have.
        ModelError: The backend refuses a layer.
    """
    target = requests.target.like_here()
    check_backend(target.backend)
    layers = []
    with pinned(target.threads):
        for done, wanted in enumerate(requests.layers):
            if on_layer is not None:
                on_layer(wanted.template.title, done, len(requests.layers))
            times, ready = {}, runs_of(wanted, target)
            for at in wanted.points:
                times[at] = max(median_ms(ready(at), warmup=warmup, repeats=repeats, clock=clock), 1e-9)
            layers.append((wanted.template, times))
            logger.info("measured %s at %d points", wanted.template.title, len(times))
    if on_layer is not None and requests.layers:
        on_layer(requests.layers[-1].template.title, len(requests.layers), len(requests.layers))
    return LatencyTable.of(target, layers)


def profile(
    model: nn.Module,
    example_inputs: Any,
    *,
    backend: str = "eager",
    threads: int | None = None,
    points: int | None = None,
    repeats: int = 20,
    on_layer: OnLayer | None = None,
) -> LatencyTable:
    """Measure every distinct layer of a network over a grid of widths.

    Args:
        model: The network; untouched.
        example_inputs: As for `autoprune.trace`; their batch is what is timed.
        backend: "eager", "compile" or "onnxruntime".
        threads: Threads of a forward pass; None takes what PyTorch uses now.
        points: Values per variable, about; None takes 17, for `compile` 5.
        repeats: Timed runs of every point; their median counts.
        on_layer: Told of the progress.

    Returns:
        The table; its `save` writes it.

    Raises:
        ArgumentError: An argument out of range, or a backend that is not installed.
        TraceError: `torch.export` refuses the model.
        ModelError: A layer cannot be written down or measured.
    """
    check_backend(backend)
    segments = segments_of(trace_program(model, example_inputs))
    target = target_of(example_inputs, model, backend, threads)
    return measure(requests_of(segments, target, points=points), repeats=repeats, on_layer=on_layer)


def complete(
    table: LatencyTable,
    segments: Sequence[Segment],
    *,
    points: int | None = None,
    on_layer: OnLayer | None = None,
) -> LatencyTable:
    """The table with what it lacks of these layers, measured on the spot.

    Raises:
        ArgumentError: Something is missing and the table is of another target.
    """
    missing = table.missing(segments)
    if not missing:
        return table
    check_measurable(table, missing)
    logger.info("%d layers are not in the latency table and are measured now", len(missing))
    requests = requests_of(missing, table.target, points=points)
    return table.merged(measure(requests, on_layer=on_layer))


def check_measurable(table: LatencyTable, missing: Sequence[Segment]) -> None:
    """Refuse to measure here what is missing in a table of another target.

    Raises:
        ArgumentError: As said; the message names the first layer.
    """
    differences = table.target.differences(table.target.like_here())
    if differences:
        raise ArgumentError(
            f"latency_table must hold every layer of the network, but {len(missing)} are missing, the first "
            f"is {missing[0].template.title}, and they cannot be measured here ({'; '.join(differences)}); "
            "measure them there with `autoprune profile --requests`"
        )


def target_of(example_inputs: Any, model: nn.Module, backend: str, threads: int | None = None) -> Target:
    """This machine, with the batch of these inputs and the device and type of the network."""
    first = next((t for t in pytree.tree_leaves(example_inputs) if isinstance(t, Tensor)), None)
    weight = next(model.parameters(), first)
    return Target.here(
        backend,
        threads=threads,
        batch=len(first) if first is not None and first.ndim else 1,
        dtype="float32" if weight is None else str(weight.dtype).removeprefix("torch."),
        device="cpu" if weight is None else weight.device.type,
    )


def graph_segments(model: nn.Module, example_inputs: Any, graph: PruneGraph) -> list[Segment]:
    """The layers of a network as functions of the groups that `graph` leaves to prune."""
    return segments_of(trace_program(model, example_inputs), graph)
