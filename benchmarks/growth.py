"""How the cost of a search grows: with the depth of the network, with the images, with the episodes."""

import argparse
import importlib
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import autoprune
from autoprune.calibration import calibrate
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import rank
from autoprune.data import FirstImages
from autoprune.graph import trace
from autoprune.score import KL, SearchImages
from benchmarks.results import save_svg

DEPTHS = (20, 56, 110, 1202)
IMAGES = (128, 256, 512, 1024, 2048)
EPISODES = 400
FEW = {"search": 64, "fit": 32, "calibration": 64}
"""Images where the depth grows, and where the episodes do."""


def per_candidate(model: nn.Module, data: Any, images: dict[str, int], draws: int) -> list[float]:
    """Seconds of random candidates with nothing cached."""
    search = FirstImages(data.search_val, images["search"], seed=0, name="data.search_val")
    train = {
        name: FirstImages(data.train, images[name], seed=0, name="data.train")
        for name in ("fit", "calibration")
    }
    graph = trace(model, next(iter(search)).inputs[:1])
    calibration = calibrate(graph, model, train["calibration"])
    order = rank(graph, model, "l1", calibration)
    score = KL(SearchImages(model, search))
    evaluator = CandidateEvaluator(graph, model, calibration, order, score, train["fit"], memo=0)
    rng, found = np.random.default_rng(0), []
    for _ in range(draws + 1):
        widths = {g.name: int(rng.integers(g.size // 4, 3 * g.size // 4 + 1)) for g in graph.prunable}
        start = time.perf_counter()
        evaluator.evaluate(widths)
        found.append(time.perf_counter() - start)
    return found[1:]


def untrained(module: str, depth: int) -> nn.Module:
    """The ResNet of this depth with random weights."""
    torch.manual_seed(0)
    model: nn.Module = importlib.import_module(module).CifarResNet(depth)
    return model.eval()


def growth(model: nn.Module, data: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds per candidate by depth and by images, and seconds of every episode of one search."""
    module = args.model.partition(":")[0]
    depths = {d: per_candidate(untrained(module, d), data, FEW, 3) for d in DEPTHS}
    images = {n: per_candidate(model, data, FEW | {"search": n, "fit": n // 2}, 3) for n in IMAGES}
    few = {f"{name}_images": count for name, count in FEW.items()}
    image = next(iter(data.search_val))[0][:1]
    result = autoprune.search(untrained(module, 20), image, data, "macs=50%", episodes=EPISODES, **few)
    return {"depths": depths, "images": images, "episodes": [e.seconds for e in result.history]}


def plot(found: dict[str, Any], folder: Path) -> str:
    """Draw three panels beside the page; the Markdown that shows them."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for panel, key in zip(panels, ("depths", "images"), strict=False):
        sizes = [int(size) for size in found[key]]
        medians = [statistics.median(values) for values in found[key].values()]
        slope = medians[0] / sizes[0]
        panel.loglog(sizes, medians, "o-", label="measured")
        panel.loglog(sizes, [slope * size for size in sizes], "--", color="grey", label="linear")
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.legend()
    total = np.cumsum(found["episodes"])
    panels[2].plot(np.arange(1, len(total) + 1), total, label="measured")
    panels[2].plot([0, len(total)], [0, total[-1]], "--", color="grey", label="linear")
    panels[2].legend()
    titles = ("layers of a ResNet", "search images (half as many for the re-fit)", "episodes of a search")
    units = ("s per candidate", "s per candidate", "s in total")
    for panel, title, unit in zip(panels, titles, units, strict=True):
        panel.set(xlabel=title, ylabel=unit)
    save_svg(figure, folder / "speed.svg")
    pyplot.close(figure)
    few = f"{FEW['search']} search and {FEW['fit']} re-fit images"
    return (
        "![Cost against layers, images and episodes](speed.svg)\n\n"
        f"Depth and episodes with {few}, untrained networks; images with the network above."
    )
