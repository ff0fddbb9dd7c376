"""What a search costs: beside AMC's way, beside bare arithmetic, on several processes, and as things grow.

    PYTHONPATH=../shared/cifar python -m benchmarks.speed --model models:resnet56 --data data:splits

Every part compares within one run, interleaved; `--parts` names some, the others are taken from what is kept.
"""

import argparse
import functools
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import autoprune
from autoprune.calibration import calibrate
from autoprune.candidate import CandidateEvaluator, Workers
from autoprune.candidate.cluster import RayWorkers
from autoprune.criteria import rank
from autoprune.data import FirstImages
from autoprune.graph import PruneGraph, trace
from autoprune.locate import call
from autoprune.score import KL, SearchImages
from autoprune.score.batches import as_channels_last, resident
from benchmarks.amc_way import AMCWay
from benchmarks.compare import README
from benchmarks.growth import growth, plot
from benchmarks.memory import memory
from benchmarks.options import KINDS, options
from benchmarks.results import Record, cell, default, publish, source, spread, table

CPU = torch.device("cpu")
SEARCH, FIT, CALIBRATION = map(default, ("search_images", "fit_images", "calibration_images"))
"""Images, the defaults of `autoprune.search`."""

MANY = 2000
"""Search images where a search can have more."""


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def made(
    model: nn.Module, data: Any, search: int = SEARCH
) -> tuple[PruneGraph, CandidateEvaluator, list[Any]]:
    """The graph, an evaluator that remembers nothing, and the batches that one candidate runs on."""
    images = {
        "search": FirstImages(data.search_val, search, seed=0, name="data.search_val"),
        "fit": FirstImages(data.train, FIT, seed=0, name="data.train"),
        "calibration": FirstImages(data.train, CALIBRATION, seed=0, name="data.train"),
    }
    graph = trace(model, next(iter(images["search"])).inputs[:1])
    calibration = calibrate(graph, model, images["calibration"])
    score = KL(SearchImages(model, images["search"]))
    order = rank(graph, model, "obs", calibration)
    evaluator = CandidateEvaluator(graph, model, calibration, order, score, images["fit"], memo=0)
    batches = [*score.images.batches, *map(as_channels_last, resident(images["fit"], CPU, 128))]
    return graph, evaluator, batches


def drawn(graph: PruneGraph, count: int, seed: int = 0) -> list[dict[str, int]]:
    """Random widths between a quarter and three quarters."""
    rng = np.random.default_rng(seed)
    return [
        {g.name: int(rng.integers(g.size // 4, 3 * g.size // 4 + 1)) for g in graph.prunable}
        for _ in range(count)
    ]


def forward(network: nn.Module, batches: Sequence[Any]) -> None:
    """The bare forward pass."""
    with torch.inference_mode():
        for batch in batches:
            network(batch.inputs)


def amc(model: nn.Module, data: Any, args: argparse.Namespace) -> Record:
    """Seconds per candidate, ours and AMC's way, by turns."""
    graph, evaluator, _ = made(model, data)
    loaded = [tuple(batch) for batch in data.search_val]
    samples = torch.cat([b[0] for b in data.train][:8])[:400]
    theirs = AMCWay(graph, model, samples, loaded)
    found: Record = {"ours": [], "theirs": [], "images": sum(len(labels) for _, labels in loaded)}
    for widths in drawn(graph, args.draws):
        found["ours"].append(seconds(functools.partial(evaluator.evaluate, widths)))
        found["theirs"].append(seconds(functools.partial(theirs, evaluator.keep(widths))))
    return found


class BarePasses(autoprune.Callback):
    """Times the bare forward pass of every candidate, between two episodes of a search.

    Args:
        evaluator: Makes the candidates.
        batches: What a candidate runs on.
    """

    def __init__(self, evaluator: CandidateEvaluator, batches: Sequence[Any]) -> None:
        self._evaluator, self._batches = evaluator, batches
        self.bare: list[float] = []
        self.whole: list[float] = []

        self.spent = 0.0
        self._seen: set[tuple[int, ...]] = set()

    def on_episode(self, episode: Any, best: Any) -> None:
        """Build the candidate once more and run it; one that came before cost nothing and does not count."""
        start = time.perf_counter()
        key = tuple(episode.widths.values())
        if key not in self._seen:
            self._seen.add(key)
            network = self._evaluator.build(episode.widths)
            self.bare.append(seconds(lambda: forward(network, self._batches)))
            self.whole.append(episode.seconds)
        self.spent += time.perf_counter() - start


def overhead(model: nn.Module, data: Any, args: argparse.Namespace) -> Record:
    """Wall time of a search and of its episodes, and of the bare passes of the networks that it evaluates."""
    return {
        str(images): _overhead(model, data, images, args.episodes * SEARCH // images)
        for images in (SEARCH, MANY)
    }


def _overhead(model: nn.Module, data: Any, images: int, episodes: int) -> Record:
    _, evaluator, batches = made(model, data, images)
    bare = BarePasses(evaluator, batches)
    batch = next(iter(data.search_val))[0][:1]
    start = time.perf_counter()
    result = autoprune.search(
        model,
        batch,
        data,
        "macs=50%",
        episodes=episodes,
        baselines=(),
        callbacks=[bare],
        search_images=images,
    )
    search = time.perf_counter() - start - bare.spent
    return {"search": search, "whole": bare.whole, "bare": bare.bare, "timings": result.timings.seconds}


def workers(model: nn.Module, data: Any, args: argparse.Namespace) -> Record:
    """Seconds for the same candidates on 1 and 2 processes and 2 Ray actors, by turns."""
    graph, evaluator, _ = made(model, data)
    count = 3 * args.draws  # so that the last one, which one side waits for, weighs little
    found: Record = {"one": [], "two": [], "ray": [], "candidates": count}
    with (
        Workers(evaluator.evaluate, 1) as one,
        Workers(evaluator.evaluate, 2) as two,
        RayWorkers(evaluator.evaluate, 2) as ray,
    ):
        sides = {"one": one, "two": two, "ray": ray}
        for side in sides.values():
            side(drawn(graph, 4, seed=99))  # warm up
        for turn in range(args.rounds):
            candidates = drawn(graph, count, seed=turn)
            for name, side in sides.items():
                found[name].append(seconds(functools.partial(side, candidates)))
    return found


PARTS: dict[str, Callable[[nn.Module, Any, argparse.Namespace], Record]] = {
    "amc": amc,
    "overhead": overhead,
    "workers": workers,
    "memory": memory,
    "growth": growth,
    "options": options,
}


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Median of the ratios of one turn each, with the smallest and largest."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def rows(found: Mapping[str, Record]) -> list[list[str]]:
    """The table, a line per claim."""
    lines: list[list[str]] = []
    if (part := found.get("amc")) is not None:
        about = f"AMC's way ({part['images']} images, full size) over ours ({SEARCH}, sliced), time"
        lines.append([f"{about} per candidate", ratio(part["theirs"], part["ours"]), ">= 10"])
    for images, part in found.get("overhead", {}).items():
        bare, about = sum(part["bare"]), "wall time over the bare forward passes"
        episodes = f"{len(part['whole'])} episodes of a search, {images} search images, {about}"
        lines.append([episodes, f"{sum(part['whole']) / bare:.2f}", "<= 1.25"])
        lines.append(
            [f"that whole search, from the call to the result, {about}", f"{part['search'] / bare:.2f}", ""]
        )
    if (part := found.get("workers")) is not None:
        for key, about, goal in (("two", "2 workers", ">= 1.8"), ("ray", "2 Ray actors", ">= 1.7")):
            lines.append(
                [f"{about} against 1 worker, candidates per second", ratio(part["one"], part[key]), goal]
            )
    if (part := found.get("memory")) is not None:
        size = {key: f"{value:.0f} MiB" for key, value in part.items()}
        lines.append(["peak memory of a search (proportional share)", size["one"], ""])
        lines.append(["of this before it began: Python, libraries, network, images", size["idle"], ""])
        lines.append(["of this the moments of the calibration", size["moments"], ""])
        more = f"{part['four'] / part['one']:.2f}"
        lines.append(["4 workers over 1, peak memory of all processes", more, "<= 1.5"])
    if (part := found.get("options")) is not None:
        lines += option_rows(part)
    return lines


def option_rows(part: Record) -> list[list[str]]:
    """What the options save: time against the plain search, and the score of what both return."""
    plain = part["plain"]
    about = f"{len(plain['score'])} seeds, {part['episodes']} episodes"
    lines = [[f"plain search: score of the result, {about}", spread(plain["score"], 4), ""]]
    for name in KINDS:
        if name == "plain":
            continue
        on = f"`{name}`" + (f" ({np.mean(part[name]['images']):.0f} images)" if name == "racing" else "")
        time_of = ratio(part[name]["seconds"], plain["seconds"])
        lines.append([f"{on}: time per episode against plain", time_of, "< 1"])
        lines.append([f"{on}: score of the result", spread(part[name]["score"], 4), "as plain"])
    return lines


def render(args: argparse.Namespace, found: Mapping[str, Record]) -> str:
    """The table, where the time of the search goes, and the plot."""
    text = f"`{args.model.rpartition(':')[2]}`, ratios within one run, median (smallest to largest):\n\n"
    text += table(["", "measured", "goal"], rows(found))
    if (part := found.get("overhead")) is not None:
        timings = part[str(SEARCH)]["timings"]
        total = sum(timings.values())
        parts = sorted(timings.items(), key=lambda item: -item[1])
        text += f"\n\nWhere the time of the search with {SEARCH} images goes: "
        text += ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in parts) + "."
    if (part := found.get("growth")) is not None:
        text += f"\n\n{plot(part, README.parent)}"
    return f"{text}\n\n{source('speed', args)}"


def main() -> None:
    """Measure what is missing and put the table into `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/cells/speed"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING)
    model, data = call(args.model, "--model"), call(args.data, "--data")
    folder = args.folder / args.model.rpartition(":")[2]
    found = {}
    for name, part in PARTS.items():
        if name in args.parts or (folder / f"{name}.json").exists():
            found[name] = cell(folder, name, functools.partial(part, model, data, args))
            logging.warning("%s: %s", name, {k: v for k, v in found[name].items() if k != "timings"})
    text = render(args, found)
    print(text)
    publish(README, f"speed {args.model}", text)


if __name__ == "__main__":
    main()
