"""What least squares, batch-norm statistics and the sequential re-fit each bring, without any search.

PYTHONPATH=../shared/cifar python -m benchmarks.reconstruction --model models:resnet20 --data data:splits
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import autoprune
from autoprune.allocation import greedy, uniform
from autoprune.calibration import Calibration, recalibrate_bn, refit, sensitivity_curves
from autoprune.criteria import rank
from autoprune.data import FirstImages
from autoprune.locate import call
from autoprune.plan import make_plan
from autoprune.surgery import apply
from autoprune.task import Task
from autoprune.train import accuracy
from benchmarks.results import Record, cell, publish, source, table

README = Path(__file__).parent / "README.md"
WAYS = ("as they are", "+ BN", "+ least squares", "+ both", "re-fitted")


class Case:
    """One network, calibrated, with its orders and allocations.

    Args:
        model: The dense network.
        data: With `train`, `search_val` and `test`.
        budget: For example "macs=50%".
        images: Calibration images.
    """

    def __init__(self, model: nn.Module, data: Any, budget: str, images: int) -> None:
        self.model, self.data = model, data
        self.images = FirstImages(data.train, images, seed=0, name="data.train")
        self.bn = FirstImages(data.train, 500, seed=0, name="data.train")
        self.graph = autoprune.trace(model, next(iter(data.search_val))[0][:1])
        self.calibration: Calibration = autoprune.calibrate(self.graph, model, self.images)
        self.orders = {name: rank(self.graph, model, name, self.calibration) for name in ("l1", "obs")}
        curves = sensitivity_curves(self.graph, model, self.calibration, self.orders["obs"])
        self.task = Task(self.graph, autoprune.Budget.parse(budget).bind(self.graph), curves)

    def network(self, order: str, allocation: str, way: str) -> nn.Module:
        """The pruned network of one cell of the table."""
        vector = {"uniform": uniform, "greedy": greedy}[allocation](self.task)
        widths = self.task.widths(vector)
        keep = {name: np.sort(self.orders[order][name][:width]).tolist() for name, width in widths.items()}
        plan = make_plan(self.graph, self.model, keep)
        fitted = way in ("+ least squares", "+ both", "re-fitted")
        pruned = apply(self.model, plan, self.calibration if fitted else None)
        if way in ("+ BN", "+ both"):
            recalibrate_bn(pruned, self.bn)
        if way == "re-fitted":
            refit(self.model, pruned, self.graph, keep, self.images)
        return pruned


def main() -> None:
    """Measure every way for every order and allocation and put the table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", default="macs=50%")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/reconstruction"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, data = call(args.model, "--model"), call(args.data, "--data")
    name = args.model.rpartition(":")[2]
    case = Case(model, data, args.budget, args.images)
    rows = []
    for order, allocation in (("l1", "uniform"), ("obs", "uniform"), ("obs", "greedy")):
        row = [f"{order}, {allocation}"]
        for way in WAYS:

            def measure(order: str = order, allocation: str = allocation, way: str = way) -> Record:
                return {"test": 100 * accuracy(case.network(order, allocation, way), data.test)}

            found = cell(args.folder / name / args.budget, f"{order}-{allocation}-{way.strip('+ ')}", measure)
            row.append(f"{found['test']:.2f}")
        rows.append(row)
    dense = cell(args.folder / name, "dense", lambda: {"test": 100 * accuracy(model, data.test)})
    text = (
        f"`{name}` at {args.budget}, no search and no fine-tuning, {args.images} calibration images, "
        f"test accuracy on 10,000 images (dense {dense['test']:.2f}):\n\n"
        f"{table(['order, widths', *WAYS], rows)}\n\n"
        f"{source('reconstruction', args)}"
    )
    print(text)
    publish(README, f"reconstruction {args.model} {args.budget}", text)


if __name__ == "__main__":
    main()
