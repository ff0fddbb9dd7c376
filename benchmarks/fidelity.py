"""How well the cheap re-fit of a candidate tells what the final one would give.

    PYTHONPATH=../shared/cifar python -m benchmarks.fidelity --model models:resnet56 --data data:splits

Random candidates of one network are re-fitted in several ways, as a search does it, and as the result of a
search is: on many images and with steps in front of every ReLU. All are scored on the same images. A search
needs candidates in the right order, so what counts is the rank correlation with the final scores, and the
scatter about the line through (log final score, log score). Cells are kept in `--folder`.
"""

import argparse
import functools
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autoprune.calibration import Refit, calibrate
from autoprune.calibration.refit import PULL as FINAL_PULL
from autoprune.candidate import CandidateEvaluator
from autoprune.candidate.evaluator import PULL
from autoprune.criteria import rank
from autoprune.data import FirstImages
from autoprune.graph import trace
from autoprune.locate import call
from autoprune.score import KL, SearchImages
from autoprune.sensitivity import spearman
from benchmarks.compare import README
from benchmarks.results import Record, cell, default, publish, source, table


class Way(NamedTuple):
    """One way to re-fit a candidate."""

    images: int
    positions: int
    pull: float
    relu_steps: int = 0


FINAL = Way(default("calibration_images"), 16, FINAL_PULL, relu_steps=3)
DEFAULT = Way(default("fit_images"), 16, PULL)
WAYS = (
    DEFAULT,
    Way(128, 16, FINAL_PULL),
    Way(128, 8, PULL),
    Way(256, 16, FINAL_PULL),
    Way(256, 16, PULL),
    Way(256, 8, PULL),
    FINAL,
)


class Study:
    """The network, calibrated, and all ways to re-fit its candidates.

    Args:
        model: The dense network.
        data: With `train` and `search_val`.
        search: Images that score a candidate.
    """

    def __init__(self, model: nn.Module, data: Any, search: int) -> None:
        score = KL(SearchImages(model, FirstImages(data.search_val, search, seed=0, name="data.search_val")))
        self.graph = trace(model, next(iter(data.search_val))[0][:1])
        calibration = calibrate(self.graph, model, FirstImages(data.train, 2000, seed=0, name="data.train"))
        order = rank(self.graph, model, "obs", calibration)
        self.evaluator = CandidateEvaluator(self.graph, model, calibration, order, score, None, memo=0)
        self.score = score
        self.fits = {
            way: Refit(
                self.graph,
                model,
                FirstImages(data.train, way.images, seed=0, name="data.train"),
                positions=way.positions,
                ridge=way.pull,
                relu_steps=way.relu_steps,
            )
            for way in WAYS
        }

    def drawn(self, count: int) -> list[dict[str, int]]:
        """Candidates about a common share of the widths each."""
        rng = np.random.default_rng(0)
        sizes = {group.name: group.size for group in self.graph.prunable}
        found = []
        for _ in range(count):
            level = rng.uniform(0.35, 0.75)
            shares = np.clip(level + rng.normal(0, 0.12, len(sizes)), 0.2, 1)
            widths = np.clip(np.round(shares * list(sizes.values())), 1, list(sizes.values())).astype(int)
            found.append(dict(zip(sizes, widths.tolist(), strict=True)))
        return found

    def measure(self, widths: dict[str, int]) -> Record:
        """Score and seconds of the re-fit of one candidate, by every way."""
        keep = {name: units.tolist() for name, units in self.evaluator.keep(widths).items()}
        found: Record = {"scores": [], "seconds": []}
        for way in WAYS:
            network = self.evaluator.build(widths)
            start = time.perf_counter()
            context = self.fits[way](network, keep)
            found["seconds"].append(time.perf_counter() - start)
            with context:
                found["scores"].append(self.score(network).score)
        return found


def scatter(score: NDArray[np.float64], final: NDArray[np.float64]) -> float:
    """Standard deviation of the logarithm of scores about its line through that of the final scores."""
    x, y = np.log(-final), np.log(-score)
    return float(np.std(y - np.polyval(np.polyfit(x, y, 1), x)))


def main() -> None:
    """Measure, and put the table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--search-images", type=int, default=default("search_images"))
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/fidelity"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, data = call(args.model, "--model"), call(args.data, "--data")
    study = Study(model, data, args.search_images)
    name = args.model.rpartition(":")[2]
    records = [
        cell(args.folder / name, str(number), functools.partial(study.measure, widths))
        for number, widths in enumerate(study.drawn(args.draws))
    ]
    scores = np.array([record["scores"] for record in records])
    seconds = np.array([record["seconds"] for record in records])
    rows = []
    for at, way in enumerate(WAYS):
        note = {DEFAULT: "a candidate's", FINAL: "the result's"}.get(way, "")
        rows.append([
            note, f"{way.images}", f"{way.positions}", f"{way.pull:g}", f"{way.relu_steps}",
            f"{statistics.median(seconds[:, at]):.2f}", f"{scores[:, at].mean():.3f}",
            f"{spearman(scores[:, at].tolist(), scores[:, -1].tolist()):.4f}",
            f"{scatter(scores[:, at], scores[:, -1]):.4f}",
        ])  # fmt: skip
    head = [
        "re-fit", "images", "positions", "pull", "ReLU steps", "seconds", "mean score", "rank correlation",
        "scatter",
    ]  # fmt: skip
    text = (
        f"`{name}`, {args.draws} random candidates re-fitted in several ways and scored on "
        f"{args.search_images} images (-KL); rank correlation with, and scatter of the logarithm about, "
        f"what the result's re-fit gives:\n\n{table(head, rows)}\n\n"
        f"{source('fidelity', args)}"
    )
    print(text)
    publish(README, f"fidelity {args.model}", text)


if __name__ == "__main__":
    main()
