"""Test accuracy before fine-tuning: every way to choose the widths, at the same budget and evaluations.

    PYTHONPATH=../shared/cifar python -m benchmarks.compare --model models:resnet20 --data data:splits

A search is run through `autoprune.search`, first to the smaller number of evaluations, then through
`autoprune.resume` to the larger one; each result is the network that the search returns. The test images
are looked at behind each. Cells are kept in `--folder`, so that a stopped benchmark goes on.
"""

import argparse
import functools
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import autoprune
from autoprune.locate import call
from autoprune.train import accuracy
from benchmarks.results import Record, cell, default, machine, publish, spread, table, whole

SEARCHES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "random": ("random", {}),
    "cmaes": ("cmaes", {}),
    "surrogate": ("surrogate", {}),
    "ddpg": ("ddpg", {}),
}
ABLATION: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    f"ddpg, {variant}": ("ddpg", {"variant": variant}) for variant in ("amc", "greedy", "credit")
}
ONE_SHOT = ("uniform", "greedy")
ALL = [*ONE_SHOT, *SEARCHES]
README = Path(__file__).parent / "README.md"


def search(
    model: nn.Module,
    data: Any,
    budget: str,
    agent: str,
    settings: Mapping[str, Any],
    evaluations: Sequence[int],
    seed: int,
    run_dir: Path,
) -> Record:
    """Run one search to each number of evaluations and measure what it returns."""
    marks: Record = {}
    seconds = 0.0
    for count in evaluations:
        started = time.perf_counter()
        if count == evaluations[0] and not (run_dir / "config.json").exists():
            result = autoprune.search(
                model, None, data, budget, agent=agent, agent_settings=settings, episodes=count,
                run_dir=run_dir, seed=seed, baselines=(),
            )  # fmt: skip
        else:
            result = autoprune.resume(run_dir, model=model, data=data, episodes=count)
        seconds += time.perf_counter() - started
        whole(result)
        marks[str(count)] = {
            "score": result.best.evaluation.score,
            "refit_score": result.found.evaluation.score,
            "test": accuracy(result.model, data.test),
            "test_as_searched": accuracy(as_searched(model, data, result.plan, seed), data.test),
            "macs": result.found.costs["macs"] / result.dense.costs["macs"],
            "params": result.found.costs["params"] / result.dense.costs["params"],
            "widths": dict(result.plan.widths),
            "seconds": seconds,
        }
    return {"agent": agent, "seed": seed, "marks": marks}


def as_searched(model: nn.Module, data: Any, plan: autoprune.Plan, seed: int) -> nn.Module:
    """The candidate as the search scored it: least squares, re-fitted on few images."""
    from autoprune.calibration import refit
    from autoprune.candidate.evaluator import PULL
    from autoprune.data import FirstImages

    candidate = autoprune.apply(model, plan, calibration_of(model, data, seed))
    graph = autoprune.trace(model, next(iter(data.search_val))[0][:1])
    keep = {name: group.keep for name, group in plan.groups.items()}
    images = FirstImages(data.train, default("fit_images"), seed=seed, name="data.train")
    refit(model, candidate, graph, keep, images, ridge=PULL, relu_steps=0, seed=seed)
    return candidate


@functools.lru_cache(maxsize=1)
def calibration_of(model: nn.Module, data: Any, seed: int) -> autoprune.Calibration:
    """The calibration that a search with this seed makes."""
    from autoprune.data import FirstImages

    graph = autoprune.trace(model, next(iter(data.search_val))[0][:1])
    return autoprune.calibrate(
        graph, model, FirstImages(data.train, 2000, seed=seed, name="data.train"), seed=seed
    )


def plain_l1(model: nn.Module, data: Any, budget: str, *, recalibrated: bool) -> Record:
    """L1 order, uniform ratio, weights as they are: what most tools do by default."""
    from autoprune.allocation import uniform
    from autoprune.calibration import recalibrate_bn
    from autoprune.data import FirstImages
    from autoprune.task import Task

    example = next(iter(data.search_val))[0][:1]
    graph = autoprune.trace(model, example)
    flat = {group.name: [0.0] * (group.size + 1) for group in graph.prunable}
    task = Task(graph, autoprune.Budget.parse(budget).bind(graph), flat)
    widths = task.widths(uniform(task))
    pruned = autoprune.apply(model, autoprune.plan(graph, widths=widths, criterion="l1"))
    if recalibrated:
        recalibrate_bn(pruned, FirstImages(data.train, 500, seed=0, name="data.train"))
    return {"test": accuracy(pruned, data.test), "macs": graph.macs(widths) / graph.macs(), "widths": widths}


def runs_of(args: argparse.Namespace) -> Path:
    """Where the run directories of one network lie (not kept in the repository)."""
    return Path("runs/benchmarks") / args.model.rpartition(":")[2] / args.budget


def measure(args: argparse.Namespace) -> dict[str, list[Record]]:
    """All cells of one network, measured or read."""
    model, data = call(args.model, "--model"), call(args.data, "--data")
    folder = args.folder / args.model.rpartition(":")[2] / args.budget
    found: dict[str, list[Record]] = {
        "dense": [cell(folder, "dense", lambda: {"test": accuracy(model, data.test)})],
        "l1": [cell(folder, "l1", functools.partial(plain_l1, model, data, args.budget, recalibrated=False))],
        "l1 + BN": [
            cell(folder, "l1-bn", functools.partial(plain_l1, model, data, args.budget, recalibrated=True))
        ],
    }
    for seed in args.seeds:
        for name in args.agents:
            agent, settings = {**SEARCHES, **ABLATION}.get(name, (name, {}))
            counts = (1,) if name in ONE_SHOT else tuple(args.evaluations)
            run_dir = runs_of(args) / f"{name}-{seed}"
            make: Callable[[], Record] = functools.partial(
                search, model, data, args.budget, agent, settings, counts, seed, run_dir
            )
            found.setdefault(name, []).append(cell(folder, f"{name}-{seed}", make))
            logging.info("%s seed %d: %s", name, seed, _short(found[name][-1]))
    return found


def _short(record: Record) -> str:
    return ", ".join(
        f"@{n} score {m['score']:.4f} test {100 * m['test']:.2f}" for n, m in record["marks"].items()
    )


def render(args: argparse.Namespace, found: dict[str, list[Record]]) -> str:
    """The cells of one network as a table."""
    rows = [
        ["dense", "", "100 %", "", "", f"{100 * found['dense'][0]['test']:.2f}"],
        [
            "L1 order, uniform, weights as they are",
            "",
            _percent(found["l1"]),
            "",
            "",
            f"{100 * found['l1'][0]['test']:.2f}",
        ],
        [
            "the same + BN statistics",
            "",
            _percent(found["l1 + BN"]),
            "",
            "",
            f"{100 * found['l1 + BN'][0]['test']:.2f}",
        ],
    ]
    for name in args.agents:
        for count in found[name][0]["marks"]:
            marks = [record["marks"][count] for record in found[name]]
            numbers = [
                spread([m["score"] for m in marks], 4),
                spread([m["test_as_searched"] for m in marks], scale=100),
                spread([m["test"] for m in marks], scale=100),
            ]
            rows.append([name, count, _percent(marks), *numbers])
    head = ["method", "evaluations", "MACs", "search score (-KL)", "test, as searched", "test, returned"]
    command = (
        f"PYTHONPATH=../shared/cifar python -m benchmarks.compare --model {args.model} --data {args.data} "
        f"--budget {args.budget} --seeds {' '.join(map(str, args.seeds))}"
    )
    if args.agents != ALL:
        command += f" --agents {shlex.join(args.agents)}"
    name = args.model.rpartition(":")[2]
    return (
        f"`{name}` at {args.budget}, before any fine-tuning, {len(args.seeds)} seeds "
        f"(mean ± standard deviation), 10,000 test images:\n\n{table(head, rows)}\n\n"
        f"    {command}\n\n{machine()}"
    )


def _percent(records: Sequence[Record]) -> str:
    return f"{100 * max(r['macs'] for r in records):.1f} %"


def main() -> None:
    """Measure one network and put its table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", default="macs=50%")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--evaluations", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--agents", nargs="+", default=ALL)
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/compare"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    text = render(args, measure(args))
    print(text)
    publish(README, f"compare {args.model} {args.budget}", text)


if __name__ == "__main__":
    main()
