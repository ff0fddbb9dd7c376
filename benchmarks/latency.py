"""Predicted against measured latency of random candidates, end to end, and what half the MACs bring in time.

    PYTHONPATH=../shared/cifar python -m benchmarks.latency --model models:resnet20
    python -m benchmarks.latency --model benchmarks.mobilenet:mobilenet_v2

Layers are measured once over a grid of widths; ten whole networks give what layers lack. These and the
candidates are timed in turns: a shared machine has another speed each minute, which is not asked for here.
Errors are those of the predicted share of the dense network's time. Cells are kept in `--folder`.
"""

import argparse
import functools
import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autoprune.allocation import uniform
from autoprune.budget import Budget
from autoprune.cli.shapes import parse_shape
from autoprune.graph import PruneGraph, trace_program
from autoprune.latency import (
    LatencyCost,
    LatencyTable,
    anchored,
    best_step,
    candidate,
    channel_multiples,
    measure,
    requests_of,
    segments_of,
)
from autoprune.latency.profile import target_of
from autoprune.latency.target import Target
from autoprune.locate import load_model
from autoprune.sensitivity import spearman
from autoprune.task import Task
from benchmarks.results import Record, cell, machine, publish, table

README = Path(__file__).parent / "README.md"


def drawn(graph: PruneGraph, count: int, seed: int, multiples: Sequence[int]) -> NDArray[np.int64]:
    """Random widths, shape (count, n): a level per candidate, every group around it, rounded down."""
    rng = np.random.default_rng(seed)
    sizes, steps = np.array([group.size for group in graph.prunable]), np.array(multiples)
    shares = rng.uniform(0.15, 1, (count, 1)) * rng.uniform(0.6, 1.4, (count, len(sizes)))
    widths = np.clip(np.floor(shares * sizes), 1, sizes).astype(np.int64)
    return np.asarray(np.maximum(widths // steps * steps, np.minimum(steps, sizes)))


def network_at(model: nn.Module, graph: PruneGraph, vector: NDArray[np.int64]) -> nn.Module:
    """The candidate of these widths."""
    widths = {g.name: int(w) for g, w in zip(graph.prunable, vector, strict=True)}
    return candidate(model, graph, widths)


def half_the_macs(graph: PruneGraph, multiples: Sequence[int]) -> NDArray[np.int64]:
    """Uniform widths at macs=50%."""
    flat = {group.name: np.zeros(group.size + 1) for group in graph.prunable}
    steps = {group.name: step for group, step in zip(graph.prunable, multiples, strict=True)}
    return uniform(Task(graph, Budget.parse("macs=50%").bind(graph), flat, round_to=steps))


def compare(model: nn.Module, inputs: Any, backend: str, args: argparse.Namespace) -> Record:
    """Measure the layers, predict candidates of any widths and of those that the device likes, time them."""
    traced = trace_program(model, inputs)
    graph, segments = traced.graph, segments_of(traced)
    target = target_of(inputs, model, backend)
    started = time.perf_counter()
    measured = measure(requests_of(segments, target, points=args.points), repeats=args.repeats)
    seconds = time.perf_counter() - started
    cost = LatencyCost(segments, measured)
    found = {"1": _against(cost, model, graph, inputs, target, [1] * len(graph.prunable), args)}
    cost.step = best_step(model, graph, inputs, target, rounds=args.rounds)
    liked = channel_multiples(cost, [group.size for group in graph.prunable])
    if set(liked) != {1}:
        found["auto"] = _against(cost, model, graph, inputs, target, liked, args)
    return {"seconds": seconds, "points": _points(measured), "multiples": liked, "found": found}


def _against(
    cost: LatencyCost,
    model: nn.Module,
    graph: PruneGraph,
    inputs: Any,
    target: Target,
    multiples: Sequence[int],
    args: argparse.Namespace,
) -> Record:
    """Predicted and measured times of candidates whose widths are such multiples."""
    half = half_the_macs(graph, multiples)
    vectors = np.concatenate([drawn(graph, args.candidates, args.seed, multiples), half[None]])
    beside = [network_at(model, graph, vector) for vector in vectors]
    given = {"round_to": cost.step, "rounds": args.rounds, "beside": beside}
    dense, *times = anchored(cost, model, graph, inputs, target, **given)
    times = times[-len(beside) :]
    macs = [graph.macs({g.name: int(w) for g, w in zip(graph.prunable, v, strict=True)}) for v in vectors]
    return {
        "anchors": cost.anchors,
        "dense": dense,
        "measured": times[:-1],
        "predicted": cost(vectors[:-1]).tolist(),
        "macs": [m / graph.macs() for m in macs[:-1]],
        "half": times[-1] / dense,
        "half_macs": macs[-1] / graph.macs(),
    }


def _points(measured: LatencyTable) -> int:
    return sum(len(points) for _, points in measured.layers.values())


def row(backend: str, round_to: str, whole: Record, record: Record) -> list[str]:
    """One line of the table."""
    found = np.array(record["measured"]) / record["dense"]
    predicted = np.array(record["predicted"]) / record["dense"]
    by_macs = np.array(record["macs"])
    errors, naive = np.abs(predicted / found - 1), np.abs(by_macs / found - 1)
    return [
        backend,
        round_to,
        f"{whole['points']}",
        f"{whole['seconds']:.0f}",
        f"{record['dense']:.2f}",
        f"{100 * statistics.median(errors):.1f} %",
        f"{100 * float(np.max(errors)):.1f} %",
        f"{spearman(found.tolist(), predicted.tolist()):.3f}",
        f"{100 * statistics.median(naive):.0f} %",
        f"{100 * record['half']:.0f} % at {100 * record['half_macs']:.0f} %",
    ]


def render(args: argparse.Namespace, found: dict[str, Record]) -> str:
    """The cells of one network as a table."""
    head = [
        "backend", "round_to", "points", "to measure, s", "dense, ms", "median error", "largest error",
        "rank correlation", "median error if time went as MACs", "time at MACs, uniform at macs=50%",
    ]  # fmt: skip
    rows = [
        row(backend, round_to, record, part)
        for backend, record in found.items()
        for round_to, part in record["found"].items()
    ]
    name = args.model.rpartition(":")[2]
    place = "" if args.model.startswith("benchmarks.") else "PYTHONPATH=../shared/cifar "
    command = f"{place}python -m benchmarks.latency --model {args.model}"
    return (
        f"`{name}` at {args.input_shape}, {args.candidates} random candidates, predicted from a table of "
        "layers and measured as a whole, as shares of the dense time. Widths are multiples of `round_to`; "
        f"`auto` is left out where the device likes all widths alike:\n\n{table(head, rows)}\n\n"
        f"    {command}\n\n{machine()}"
    )


def main() -> None:
    """Measure one network and put its table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--input-shape", default="1,3,32,32")
    parser.add_argument("--backends", nargs="+", default=["eager", "onnxruntime"])
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--points", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/latency"))
    parser.add_argument("--no-publish", action="store_true", help="print the table only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model = load_model(args.model).eval()
    inputs = torch.randn(parse_shape(args.input_shape), generator=torch.Generator().manual_seed(0))
    folder = args.folder / args.model.rpartition(":")[2] / args.input_shape
    found = {
        name: cell(folder, name, functools.partial(compare, model, inputs, name, args))
        for name in args.backends
    }
    text = render(args, found)
    print(text)
    if not args.no_publish:
        publish(README, f"latency {args.model} {args.input_shape}", text)


if __name__ == "__main__":
    main()
