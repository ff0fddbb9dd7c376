"""How far a score on a few hundred images can be trusted.

Candidates around the greedy allocation, all within the budget, are scored as a search does; the network
that would be returned for each is then measured on the test images. Rank correlations between the two, and
what the candidate with the best score is worth, over random draws of the search images.

    PYTHONPATH=../shared/cifar python -m benchmarks.score --model models:resnet20 --data data:splits
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import autoprune
from autoprune.allocation import greedy
from autoprune.calibration import Refit, calibrate, sensitivity_curves
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import rank
from autoprune.data import FirstImages
from autoprune.graph import PruneGraph, trace
from autoprune.locate import call
from autoprune.score import KL, SearchImages
from autoprune.sensitivity import spearman
from autoprune.task import Task
from benchmarks.compare import README
from benchmarks.results import publish, source, table

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)


def divergences(dense: Tensor, found: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Per image: the divergence at every temperature, and whether the image is wrong."""
    result = {}
    for temperature in TEMPERATURES:
        p, q = (dense / temperature).log_softmax(1), (found / temperature).log_softmax(1)
        result[f"KL, T = {temperature:g}"] = (p.exp() * (p - q)).sum(1) * temperature**2
    return result | {"error (1 - accuracy)": (found.argmax(1) != labels).double()}


def around(
    graph: PruneGraph, widths: Mapping[str, int], limit: float, spread: float, rng: np.random.Generator
) -> dict[str, int]:
    """Widths scaled by random factors, and together so that the MACs just stay within the limit."""
    sizes = {group.name: group.size for group in graph.prunable}
    factors = {name: np.exp(spread * rng.standard_normal()) for name in widths}

    def scaled(by: float) -> dict[str, int]:
        return {n: int(np.clip(round(w * factors[n] * by), 1, sizes[n])) for n, w in widths.items()}

    low, high = 0.1, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if graph.macs(scaled(middle)) <= limit else (low, middle)
    return scaled(low)


class Study:
    """Outputs of candidates on the search images, and of what they are re-fitted to on the test images.

    Args:
        model: The dense network.
        data: With `train`, `search_val` and `test`.
        budget: For example "macs=50%".
        pool: Images of `search_val`.
    """

    def __init__(self, model: nn.Module, data: Any, budget: str, pool: int) -> None:
        def first(loader: Any, count: int) -> FirstImages:
            return FirstImages(loader, count, seed=0, name="images")

        self.graph = trace(model, next(iter(data.search_val))[0][:1])
        calibration = calibrate(self.graph, model, first(data.train, 2000))
        order = rank(self.graph, model, "obs", calibration)
        curves = sensitivity_curves(self.graph, model, calibration, order)
        bound = autoprune.Budget.parse(budget).bind(self.graph)
        self.task = Task(self.graph, bound, curves)
        self.search, self.test = (
            SearchImages(model, first(loader, count))
            for loader, count in ((data.search_val, pool), (data.test, 1 << 30))
        )
        self.evaluator = CandidateEvaluator(
            self.graph, model, calibration, order, KL(self.search), first(data.train, 256), memo=0
        )
        self._refit = Refit(self.graph, model, first(data.train, 1000))
        self._model = model

    def measure(self, widths: Mapping[str, int]) -> tuple[dict[str, Tensor], float, float]:
        """Per search image what `divergences` says; test accuracy and test KL of the returned network."""
        network = self.evaluator.build(widths)
        scores = self._divergences(network, self.search)
        self._refit(network, {n: k.tolist() for n, k in self.evaluator.keep(widths).items()})
        final = self._divergences(network, self.test)
        return scores, 1 - float(final["error (1 - accuracy)"].mean()), float(final["KL, T = 1"].mean())

    def _divergences(self, network: nn.Module, images: SearchImages) -> dict[str, Tensor]:
        with torch.inference_mode():
            dense, found = (
                torch.cat([net(batch.inputs) for batch in images.batches]).double()
                for net in (self._model.eval(), network)
            )
        labels = torch.cat([batch.labels for batch in images.batches])
        return divergences(dense, found, labels)


def main() -> None:
    """Measure and put the table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--budget", default="macs=50%")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--spread", type=float, default=0.2)
    parser.add_argument("--pool", type=int, default=5000)
    parser.add_argument("--images", type=int, nargs="+", default=[512, 2000])
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    study = Study(call(args.model, "--model"), call(args.data, "--data"), args.budget, args.pool)
    best = study.task.widths(greedy(study.task))
    limit = next(iter(study.task.budget.limits.values()))
    drawn = [around(study.graph, best, limit, args.spread, rng) for _ in range(args.candidates)]
    measured = [study.measure(widths) for widths in drawn]
    accuracies = np.array([m[1] for m in measured])
    kls = np.array([m[2] for m in measured])
    rows = []
    for name in measured[0][0]:
        values = torch.stack([m[0][name] for m in measured]).numpy()
        row = [name]
        for count in args.images:
            found = []
            for _ in range(args.draws):
                means = values[:, rng.choice(values.shape[1], count, replace=False)].mean(1)
                chosen = accuracies[means.argmin()]
                found.append((spearman(means, kls), spearman(means, -accuracies), 100 * chosen))
            row += [f"{value:.2f}" for value in np.mean(found, 0)]
        rows.append(row)
    heads = [f"{what}, {n} images" for n in args.images for what in ("KL", "accuracy", "best")]
    average, largest = 100 * accuracies.mean(), 100 * accuracies.max()
    text = (
        f"`{args.model.rpartition(':')[2]}` at {args.budget}, {args.candidates} candidates around the greedy "
        f"allocation (test accuracy as returned {average:.2f} on average, {largest:.2f} at best). Rank "
        "correlation of the score with test KL and test accuracy of the network that is returned, and the "
        f"test accuracy of the candidate that scores best; means over {args.draws} draws of the "
        f"search images:\n\n{table(['score', *heads], rows)}\n\n"
        f"{source('score', args)}"
    )
    print(text)
    publish(README, f"score {args.model} {args.budget}", text)


if __name__ == "__main__":
    main()
