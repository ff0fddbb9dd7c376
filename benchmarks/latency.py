"""Predicted against measured latency of random candidates, end to end, and what half the MACs bring in time.

    PYTHONPATH=../shared/cifar python -m benchmarks.latency --model models:resnet20
    python -m benchmarks.latency --model benchmarks.mobilenet:mobilenet_v2

Layers are measured once over a grid of widths; ten whole networks give what layers lack.
The candidates are then predicted, and timed interleaved. Errors are those of the share of the dense network's
time, which is measured both with the table and with the candidates: a shared machine has another speed each
time. Cells are kept in `--folder`.
"""

import argparse
import functools
import logging
import statistics
import time
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
    candidate,
    channel_multiples,
    measure,
    requests_of,
    segments_of,
    time_networks,
)
from autoprune.latency.profile import target_of
from autoprune.locate import load_model
from autoprune.sensitivity import spearman
from autoprune.task import Task
from benchmarks.results import Record, cell, machine, publish, table

README = Path(__file__).parent / "README.md"


def drawn(graph: PruneGraph, count: int, seed: int) -> NDArray[np.int64]:
    """Random widths, shape (count, n): a level per candidate, and every group around it."""
    rng = np.random.default_rng(seed)
    sizes = np.array([group.size for group in graph.prunable])
    shares = rng.uniform(0.15, 1, (count, 1)) * rng.uniform(0.6, 1.4, (count, len(sizes)))
    return np.clip(np.floor(shares * sizes), 1, sizes).astype(np.int64)


def network_at(model: nn.Module, graph: PruneGraph, vector: NDArray[np.int64]) -> nn.Module:
    """The candidate of these widths."""
    widths = {g.name: int(w) for g, w in zip(graph.prunable, vector, strict=True)}
    return candidate(model, graph, widths)


def half_the_macs(graph: PruneGraph, round_to: int | dict[str, int] = 1) -> NDArray[np.int64]:
    """Uniform widths at macs=50%."""
    flat = {group.name: [0.0] * (group.size + 1) for group in graph.prunable}
    return uniform(Task(graph, Budget.parse("macs=50%").bind(graph), flat, round_to=round_to))


def compare(model: nn.Module, inputs: Any, backend: str, args: argparse.Namespace) -> Record:
    """Measure the layers, predict the candidates and time them."""
    traced = trace_program(model, inputs)
    graph, segments = traced.graph, segments_of(traced)
    target = target_of(inputs, model, backend)
    started = time.perf_counter()
    measured = measure(requests_of(segments, target, points=args.points), repeats=args.repeats)
    seconds = time.perf_counter() - started
    cost = LatencyCost(segments, measured)
    anchored(cost, model, graph, inputs, target, rounds=args.rounds)
    multiples = channel_multiples(cost, [group.size for group in graph.prunable])
    rounded = dict(zip((group.name for group in graph.prunable), multiples, strict=True))
    halves = np.stack([half_the_macs(graph), half_the_macs(graph, rounded)])
    vectors = np.concatenate([drawn(graph, args.candidates, args.seed), halves])
    networks = [model, *(network_at(model, graph, vector) for vector in vectors)]
    dense, *times = time_networks(networks, inputs, target, rounds=args.rounds)
    macs = [graph.macs({g.name: int(w) for g, w in zip(graph.prunable, v, strict=True)}) for v in vectors]
    return {
        "seconds": seconds,
        "points": _points(measured),
        "anchors": cost.anchors,
        "dense": dense,
        "measured": times[:-2],
        "predicted": cost(vectors[:-2]).tolist(),
        "macs": [m / graph.macs() for m in macs[:-2]],
        "half": [t / dense for t in times[-2:]],
        "half_macs": [m / graph.macs() for m in macs[-2:]],
        "multiples": rounded,
    }


def _points(measured: LatencyTable) -> int:
    return sum(len(points) for _, points in measured.layers.values())


def row(backend: str, record: Record) -> list[str]:
    """One line of the table."""
    found = np.array(record["measured"]) / record["dense"]
    predicted = np.array(record["predicted"]) / record["anchors"][0][1]
    by_macs = np.array(record["macs"])
    errors, naive = np.abs(predicted / found - 1), np.abs(by_macs / found - 1)
    return [
        backend,
        f"{record['points']}",
        f"{record['seconds']:.0f}",
        f"{record['dense']:.2f}",
        f"{100 * statistics.median(errors):.1f} %",
        f"{100 * float(np.max(errors)):.1f} %",
        f"{spearman(found.tolist(), predicted.tolist()):.3f}",
        f"{100 * statistics.median(naive):.0f} %",
        *(
            f"{100 * t:.0f} % at {100 * m:.0f} %"
            for t, m in zip(record["half"], record["half_macs"], strict=True)
        ),
    ]


def render(args: argparse.Namespace, found: dict[str, Record]) -> str:
    """The cells of one network as a table."""
    head = [
        "backend", "points", "to measure, s", "dense, ms", "median error", "largest error",
        "rank correlation", "median error if time went as MACs", "time at MACs, uniform",
        "the same, widths rounded by the table",
    ]  # fmt: skip
    rows = [row(backend, record) for backend, record in found.items()]
    name = args.model.rpartition(":")[2]
    place = "" if args.model.startswith("benchmarks.") else "PYTHONPATH=../shared/cifar "
    command = f"{place}python -m benchmarks.latency --model {args.model}"
    return (
        f"`{name}` at {args.input_shape}, {args.candidates} random candidates, predicted from a table of "
        f"layers and measured as a whole, as shares of the dense time:\n\n{table(head, rows)}\n\n"
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
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results/latency"))
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
