"""How well every criterion orders units: against the exact change in loss, and by the networks it leaves.

    PYTHONPATH=../shared/cifar python -m benchmarks.criteria --model models:resnet20 --data data:splits

For every criterion: Spearman's correlation of its scores with the oracle's, group by group; the test
accuracy of networks of uniform widths with and without reconstruction, before any fine-tuning; and the time
of the full ranking, calibration included, in passes over the calibration images (forwards, or forwards and
backwards where it reads gradients). Cells are kept in `--folder`, so that a stopped benchmark goes on.
"""

import argparse
import functools
import logging
import math
import statistics
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
from autoprune.criteria import CRITERIA, make_criterion, statistics_of, unit_scores
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

    @functools.cached_property
    def calibration(self) -> autoprune.Calibration:
        """What least squares need."""
        return autoprune.calibrate(self.graph, self.model, self.images)

    @functools.cached_property
    def fit(self) -> Refit:
        """The sequential re-fit."""
        return Refit(self.graph, self.model, self.images)

    def dense(self) -> Record:
        """Accuracy of the dense network, and the seconds of a pass over the calibration images."""
        return {
            "test": accuracy(self.model, self.test),
            "forward": min(self._pass(backward=False) for _ in range(3)),
            "backward": min(self._pass(backward=True) for _ in range(3)),
        }

    def _pass(self, *, backward: bool) -> float:
        started = time.perf_counter()
        with torch.set_grad_enabled(backward):
            for inputs, labels in self.images:
                assert labels is not None
                loss = cross_entropy(self.model(inputs), labels)
                if backward:
                    loss.backward()  # type: ignore[no-untyped-call]
        seconds = time.perf_counter() - started
        self.model.zero_grad(set_to_none=True)
        return seconds

    def scores(self, name: str) -> Record:
        """Scores of all units, and the seconds that they take, calibration included."""
        chosen = make_criterion(name)
        started = time.perf_counter()
        calibration = None
        if chosen.needs & {"gradients", "data"} and not chosen.runs:
            wanted = sorted(statistics_of(chosen))
            calibration = autoprune.calibrate(self.graph, self.model, self.images, statistics=wanted)
        found = unit_scores(self.graph, self.model, chosen, calibration, batches=self.few)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "scores": {group: s.tolist() for group, s in found.items()}}

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


def agreement(scores: Scores, oracle: Scores) -> float:
    """Median over the groups of the rank correlation with the oracle; 0 where all scores are equal."""
    found = (spearman(scores[name].tolist(), oracle[name].tolist()) for name in oracle)
    return statistics.median(0.0 if math.isnan(one) else one for one in found)


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
    found: dict[str, Record] = {"dense": cell(folder, "dense", lambda: case().dense())}
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


def row(name: str, found: Mapping[str, Record], args: argparse.Namespace) -> list[str]:
    """The cells of one criterion."""
    record, dense = found[name], found["dense"]
    kind = CRITERIA[name]
    correlation = f"{agreement(as_tensors(record), as_tensors(found[ORACLE])):.2f}" if ORACLE in found else ""
    per_pass = dense["backward" if "gradients" in kind.needs else "forward"]
    passes = f"{record['seconds'] / per_pass:.1f}"
    reads = " ".join(need for need in ("weights", "gradients", "data") if need in kind.needs)
    accuracies = [
        f"{100 * record[f'{share:g}'][way]:.2f}" for way in ("plain", "fitted") for share in args.shares
    ]
    return [name, reads, correlation, passes, *accuracies]


def render(found: Mapping[str, Record], args: argparse.Namespace) -> str:
    """One table."""
    shares = [f"{100 * share:g} %" for share in args.shares]
    head = ["criterion", "reads", "Spearman with the oracle, median over groups", "time in passes"]
    head += [f"{share}, weights as they are" for share in shares]
    head += [f"{share}, reconstructed" for share in shares]
    command = (
        f"PYTHONPATH=../shared/cifar python -m benchmarks.criteria --model {args.model} --data {args.data}"
    )
    return (
        f"`{args.model.rpartition(':')[2]}`, test accuracy after a share of the MACs is removed with uniform "
        f"widths, before any fine-tuning, {args.test_images:,} test images (dense "
        f"{100 * found['dense']['test']:.2f}). Calibration and reconstruction (least squares, then the "
        f"sequential re-fit) see {args.images:,} images, the oracle and the KL divergence "
        f"{args.oracle_images:,}. Time: the full ranking, calibration included, in forward passes over the "
        "calibration images, or forward and backward passes where gradients are read.\n\n"
        f"{table(head, [row(name, found, args) for name in args.criteria])}\n\n"
        f"    {command}\n\n{machine()}"
    )


def main() -> None:
    """Measure one network and put its table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--criteria", nargs="+", default=[name for name in CRITERIA if name != "magnitude"])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--oracle-images", type=int, default=500)
    parser.add_argument("--test-images", type=int, default=10000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/criteria"))
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
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
