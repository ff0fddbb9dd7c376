"""A search under a latency budget beside searches under MACs: time as measured, and accuracy.

    PYTHONPATH=../shared/cifar python -m benchmarks.latency_search --model models:resnet20 --data data:splits

One search keeps the latency budget; the others keep MACs budgets around it. All networks that they return
are timed in turns with the dense one. The last row is the accuracy under MACs at the same measured time,
interpolated between the budgets.
Cells are kept in `--folder`, networks in `--runs`.
"""

import argparse
import functools
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import autoprune
from autoprune.latency import time_networks
from autoprune.latency.profile import profile, target_of
from autoprune.locate import call
from autoprune.train import accuracy
from benchmarks.compare import README
from benchmarks.results import Record, cell, publish, source, spread, table, whole


def searched(
    model: nn.Module, data: Any, inputs: Any, budget: str, seed: int, args: argparse.Namespace
) -> Record:
    """One search; the network stays in `--runs`."""
    folder = args.runs / f"{budget}-{seed}"
    if folder.exists():  # of a search that was broken off
        shutil.rmtree(folder)
    timed = {"latency_table": args.table} if budget.startswith("latency") else {}
    result = whole(
        autoprune.search(
            model, inputs, data, budget, episodes=args.episodes, seed=seed, baselines=(), run_dir=folder,
            **timed,
        )
    )  # fmt: skip
    return {
        "test": accuracy(result.model, data.test),
        "macs": result.found.costs["macs"] / result.dense.costs["macs"],
        "predicted": None if result.timed is None else result.timed.predicted_ms / result.timed.dense_ms,
    }


def times(model: nn.Module, inputs: Any, budgets: list[str], seed: int, args: argparse.Namespace) -> Record:
    """Time of every network as a share of the dense one's, interleaved."""
    networks = [autoprune.load(args.runs / f"{budget}-{seed}" / "pruned", model) for budget in budgets]
    target = target_of(inputs, model, args.backend)
    dense, *found = time_networks([model, *networks], inputs, target, rounds=args.rounds)
    shares = [one / dense for one in found]
    return {"dense_ms": dense, "shares": dict(zip(budgets, shares, strict=True))}


def render(args: argparse.Namespace, found: dict[int, dict[str, Record]], timed: dict[int, Record]) -> str:
    """One row per budget, and the comparison at equal time."""
    budgets = [args.latency, *args.macs]
    rows = []
    for budget in budgets:
        records = [found[seed][budget] for seed in args.seeds]
        shares = [timed[seed]["shares"][budget] for seed in args.seeds]
        rows.append([
            budget,
            spread([r["macs"] for r in records], 1, 100) + " %",
            spread(shares, 1, 100) + " %",
            f"{100 * max(shares):.1f} %",
            spread([r["test"] for r in records], scale=100),
        ])  # fmt: skip
    rows.append(
        [
            "under MACs at the time of the first row (of the fastest, where none is as fast)",
            "",
            "",
            "",
            spread(_as_fast(args, found, timed), scale=100),
        ]
    )
    head = ["budget", "MACs", "measured time", "largest", "test accuracy"]
    dense = spread([timed[seed]["dense_ms"] for seed in args.seeds])
    return (
        f"`{args.model.rpartition(':')[2]}`, {args.backend}, input {args.input_shape}, dense {dense} ms, "
        f"{args.episodes} episodes per search, {len(args.seeds)} seeds, before fine-tuning; all networks of "
        f"a seed timed in turns ({args.rounds} rounds):\n\n{table(head, rows)}\n\n"
        f"{source('latency_search', args)}"
    )


def _as_fast(
    args: argparse.Namespace, found: dict[int, dict[str, Record]], timed: dict[int, Record]
) -> list[float]:
    """Of every seed the accuracy under MACs at the time of the network under latency, interpolated.

    A network that is faster than all under MACs is compared with the fastest of them.
    """
    result = []
    for seed in args.seeds:
        shares = timed[seed]["shares"]
        points = sorted((shares[budget], found[seed][budget]["test"]) for budget in args.macs)
        result.append(float(np.interp(shares[args.latency], *zip(*points, strict=True))))
    return result


def main() -> None:
    """Search, time, and put the table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--latency", default="latency=60%")
    parser.add_argument("--macs", nargs="+", default=[f"macs={p}%" for p in (30, 35, 40, 45, 50, 55, 60)])
    parser.add_argument("--input-shape", default="16,3,32,32")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/latency_search"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/latency_search"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model, data = call(args.model, "--model").eval(), call(args.data, "--data")
    name = f"{args.model.rpartition(':')[2]}-{args.backend}-{args.input_shape}"
    folder, args.runs, args.table = args.folder / name, args.runs / name, args.runs / name / "table.json"
    shape = tuple(map(int, args.input_shape.split(",")))
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if not args.table.exists():
        args.table.parent.mkdir(parents=True, exist_ok=True)
        profile(model, inputs, backend=args.backend).save(args.table)
    found: dict[int, dict[str, Record]] = {}
    timed: dict[int, Record] = {}
    budgets = [args.latency, *args.macs]
    for seed in args.seeds:
        found[seed] = {}
        for budget in budgets:
            make = functools.partial(searched, model, data, inputs, budget, seed, args)
            found[seed][budget] = cell(folder, f"{budget}-{seed}", make)
            logging.info("%s seed %d: %s", budget, seed, found[seed][budget])
        timed[seed] = cell(
            folder, f"times-{seed}", functools.partial(times, model, inputs, budgets, seed, args)
        )
    text = render(args, found, timed)
    print(text)
    publish(README, f"latency search {args.model}", text)


if __name__ == "__main__":
    main()
