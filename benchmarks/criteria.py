"""How well every criterion orders units: against the exact change in loss, and by the networks it leaves.

    PYTHONPATH=../shared/cifar python -m benchmarks.criteria

For every criterion: Spearman's correlation of its scores with the oracle's, group by group; the test
accuracy of networks of uniform widths with and without reconstruction, before any fine-tuning; and the
processor time of the full ranking, calibration included, in passes over the calibration images (forwards, or
forwards and backwards where it reads gradients). Other networks by `--model`; `--shares` without a number
measures times alone, `--without oracle` spares its runs. Cells are kept in `--folder`, so that a stopped
benchmark goes on.
"""

import argparse
import functools
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import autoprune
from autoprune.allocation import uniform
from autoprune.calibration import Refit
from autoprune.criteria import (
    CRITERIA,
    Criterion,
    Trainable,
    make_criterion,
    statistics_of,
    unit_scores,
)
from autoprune.data import Batch, FirstImages
from autoprune.locate import call
from autoprune.plan import make_plan
from autoprune.sensitivity import spearman
from autoprune.surgery import apply
from autoprune.task import Task
from autoprune.train import accuracy
from benchmarks.results import Record, cell, machine, publish, table

README = Path(__file__).parent / "README.md"
ORACLE = "oracle"
REMOVALS = (ORACLE, "kl_divergence")
"""What runs the network once per unit."""

Scores = Mapping[str, Tensor]


class Case:
    """One network with its images.

    Args:
        model: The dense network.
        data: With `train`, `search_val` and `test`.
        images: Calibration images, on which networks are re-fitted too.
        oracle_images: Images that the criteria run on that run the network by themselves.
        test_images: Test images that accuracies are measured on.
    """

    def __init__(
        self, model: nn.Module, data: Any, images: int, oracle_images: int, test_images: int
    ) -> None:
        self.model = model.eval()
        self.images: list[Batch] = list(FirstImages(data.train, images, seed=0, name="data.train"))
        self.few: list[Batch] = list(FirstImages(data.train, oracle_images, seed=0, name="data.train"))
        self.test = FirstImages(data.test, test_images, seed=0, name="data.test")
        self.graph = autoprune.trace(model, self.images[0].first(1).inputs)

    def passes(self, chosen: Criterion) -> float:
        """How often a criterion has to run over the calibration images; 0 for weights alone."""
        size = sum(batch.size for batch in self.images)
        if chosen.name in REMOVALS:
            runs = 1 + sum(group.size for group in self.graph.prunable)
            return runs * sum(batch.size for batch in self.few) / size
        if isinstance(chosen, Trainable):
            return chosen.steps / len(self.images)
        return float(bool(chosen.needs & {"gradients", "data"}))

    @functools.cached_property
    def calibration(self) -> autoprune.Calibration:
        """What least squares need."""
        return autoprune.calibrate(self.graph, self.model, self.images)

    @functools.cached_property
    def fit(self) -> Refit:
        """The sequential re-fit."""
        return Refit(self.graph, self.model, self.images)

    def dense(self, accurate: bool) -> Record:
        """Accuracy of the dense network, if asked for, and seconds of a pass over the calibration images."""
        return {
            "test": accuracy(self.model, self.test) if accurate else None,
            "groups": [group.name for group in self.graph.prunable],
            "forward": min(self._pass(backward=False) for _ in range(3)),
            "backward": min(self._pass(backward=True) for _ in range(3)),
        }

    def _pass(self, *, backward: bool) -> float:
        started = time.process_time()
        with torch.set_grad_enabled(backward):
            for inputs, labels in self.images:
                assert labels is not None
                loss = cross_entropy(self.model(inputs), labels)
                if backward:
                    loss.backward()  # type: ignore[no-untyped-call]
        seconds = time.process_time() - started
        self.model.zero_grad(set_to_none=True)
        return seconds

    def scores(self, name: str) -> Record:
        """Scores of all units, and the processor seconds that they take, calibration included."""
        chosen = make_criterion(name)
        started = time.process_time()
        calibration = None
        if chosen.needs & {"gradients", "data"} and not chosen.runs:
            wanted = sorted(statistics_of(chosen))
            calibration = autoprune.calibrate(self.graph, self.model, self.images, statistics=wanted)
        images = self.few if name in REMOVALS else self.images
        found = unit_scores(self.graph, self.model, chosen, calibration, batches=images)
        seconds = time.process_time() - started
        return {
            "seconds": seconds,
            "passes": self.passes(chosen),
            "scores": {group: s.tolist() for group, s in found.items()},
        }

    def pruned(self, scores: Scores, share: float) -> Record:
        """Test accuracy with `share` of the MACs removed, as the weights are and reconstructed."""
        flat = {group.name: np.zeros(group.size + 1) for group in self.graph.prunable}
        budget = autoprune.Budget.parse(f"macs={100 * (1 - share):g}%")
        task = Task(self.graph, budget.bind(self.graph), flat)
        widths = task.widths(uniform(task))
        order = {name: torch.argsort(s, descending=True, stable=True).numpy() for name, s in scores.items()}
        keep = {name: np.sort(order[name][:width]).tolist() for name, width in widths.items()}
        plan = make_plan(self.graph, self.model, keep)
        fitted = apply(self.model, plan, self.calibration)
        self.fit(fitted, keep)
        return {
            "plain": accuracy(apply(self.model, plan), self.test),
            "fitted": accuracy(fitted, self.test),
            "macs": self.graph.macs(widths) / self.graph.macs(),
        }


def agreement(scores: Scores, oracle: Scores) -> list[float]:
    """Rank correlation with the oracle, group by group; 0 where all scores are equal."""
    found = [spearman(scores[name].tolist(), oracle[name].tolist()) for name in oracle]
    return [0.0 if math.isnan(one) else one for one in found]


def as_tensors(record: Record) -> Scores:
    """The scores of a cell."""
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in record["scores"].items()}


def scored(case: Callable[[], Case], name: str) -> Record:
    """The cell of a criterion's scores."""
    return case().scores(name)


def pruned(case: Callable[[], Case], scores: Scores, share: float) -> Record:
    """The cell of the networks that scores leave."""
    return case().pruned(scores, share)


def measure(case: Callable[[], Case], args: argparse.Namespace) -> dict[str, Record]:
    """All cells, measured or read; nothing is loaded where all are there."""
    folder = args.folder / args.model.rpartition(":")[2]
    found: dict[str, Record] = {
        "dense": cell(folder, "dense" if args.shares else "passes", lambda: case().dense(bool(args.shares)))
    }
    for name in args.criteria:
        record = cell(folder, f"{name}-scores", functools.partial(scored, case, name))
        scores = as_tensors(record)
        for share in args.shares:
            measured = functools.partial(pruned, case, scores, share)
            record[f"{share:g}"] = mark = cell(folder, f"{name}-{share:g}", measured)
            numbers = name, share, mark["plain"], mark["fitted"]
            logging.info("%s, %g of the MACs removed: plain %.4f, fitted %.4f", *numbers)
        found[name] = record
    return found


def seconds_per_pass(name: str, found: Mapping[str, Record]) -> float:
    """Of a forward pass over the calibration images, or of both ways where gradients are read."""
    return float(found["dense"]["backward" if "gradients" in CRITERIA[name].needs else "forward"])


def row(name: str, found: Mapping[str, Record], args: argparse.Namespace) -> list[str]:
    """The cells of one criterion."""
    record, needs = found[name], CRITERIA[name].needs
    cells = [name, " ".join(need for need in ("weights", "gradients", "data") if need in needs)]
    if ORACLE in found:
        by_group = agreement(as_tensors(record), as_tensors(found[ORACLE]))
        cells += [f"{statistics.median(by_group):.2f}", " ".join(f"{one:.2f}" for one in by_group)]
    passes = record["passes"]
    cells += [
        f"{passes:.3g}" if passes else "",
        f"{record['seconds'] / seconds_per_pass(name, found):.3g}",
    ]
    for way in ("plain", "fitted"):
        cells += [f"{100 * record[f'{share:g}'][way]:.2f}" for share in args.shares]
    return cells


def dearest(found: Mapping[str, Record], args: argparse.Namespace) -> str:
    """Which criterion but the oracle takes most, compared with the passes that it cannot do without."""
    factors = {
        name: found[name]["seconds"] / seconds_per_pass(name, found) / (found[name]["passes"] or 1)
        for name in args.criteria
        if name != ORACLE
    }
    if not factors:
        return ""
    name = max(factors, key=lambda one: factors[one])
    return f" The most that any but the oracle takes is {factors[name]:.1f} times its passes (`{name}`)."


def caption(found: Mapping[str, Record], args: argparse.Namespace) -> str:
    """What the columns are."""
    images = f"{args.images:,} calibration images"
    parts = [f"`{args.model.rpartition(':')[2]}`, {images}."]
    if args.shares:
        parts.append(
            "Test accuracy after a share of the MACs is removed with uniform widths, before any fine-tuning, "
            f"{args.test_images:,} test images (dense {100 * found['dense']['test']:.2f}); reconstruction is "
            "least squares, then the sequential re-fit."
        )
    if ORACLE in found:
        groups = ", ".join(f"`{name}`" for name in found["dense"]["groups"])
        parts.append(
            f"Spearman's correlation with the oracle on {args.oracle_images:,} images, layer by layer: "
            f"{groups}."
        )
    parts.append(
        f"Time: the full ranking, calibration included, in passes over the {images}, forwards, or forwards "
        "and backwards where gradients are read; beside it the passes that a criterion cannot do without."
        + dearest(found, args)
    )
    return " ".join(parts)


def render(found: Mapping[str, Record], args: argparse.Namespace) -> str:
    """One table."""
    shares = [f"{100 * share:g} %" for share in args.shares]
    head = ["criterion", "reads"]
    head += ["Spearman with the oracle, median", "layer by layer"] if ORACLE in found else []
    head += ["passes needed", "time in passes"]
    head += [f"{share}, weights as they are" for share in shares]
    head += [f"{share}, reconstructed" for share in shares]
    rows = table(head, [row(name, found, args) for name in args.criteria])
    command = " ".join(["PYTHONPATH=../shared/cifar python -m benchmarks.criteria", *sys.argv[1:]])
    return f"{caption(found, args)}\n\n{rows}\n\n    {command}\n\n{machine()}"


def main() -> None:
    """Measure one network and put its table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="models:resnet20")
    parser.add_argument("--data", default="data:splits")
    parser.add_argument("--criteria", nargs="+", default=[name for name in CRITERIA if name != "magnitude"])
    parser.add_argument("--without", nargs="+", default=[], choices=list(CRITERIA))
    parser.add_argument("--shares", type=float, nargs="*", default=[0.3, 0.5, 0.7])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--oracle-images", type=int, default=500)
    parser.add_argument("--test-images", type=int, default=10000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/criteria"))
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.criteria = [name for name in args.criteria if name not in args.without]
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    @functools.cache
    def case() -> Case:
        model, data = call(args.model, "--model"), call(args.data, "--data")
        return Case(model, data, args.images, args.oracle_images, args.test_images)

    text = render(measure(case, args), args)
    print(text)
    publish(args.readme, f"criteria {args.model}", text)


if __name__ == "__main__":
    main()
