"""What the options that make a search cheaper save, and what becomes of its result."""

import argparse
import statistics
import time
from collections.abc import Mapping
from typing import Any

from torch import nn

import autoprune
from benchmarks.results import Record

KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "racing": {"racing": True},
    "bfloat16": {"precision": "bfloat16"},
}
SEEDS = (0, 1, 2)


class Spent(autoprune.Callback):
    """Process seconds from the first episode to the last, and how many candidates were evaluated in them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.images: list[float] = []
        self._start = 0.0
        self._seen: set[tuple[int, ...]] = set()

    def on_start(self, start: Any) -> None:
        """Begin."""
        self._start = time.process_time()

    def on_episode(self, episode: Any, best: Any) -> None:
        """A candidate that came before cost nothing and does not count."""
        self.seconds = time.process_time() - self._start
        key = tuple(episode.widths.values())
        if key not in self._seen:
            self._seen.add(key)
            self.images.append(episode.evaluation.metrics.get("images", float("nan")))


def options(model: nn.Module, data: Any, args: argparse.Namespace) -> Record:
    """Process seconds per candidate and score of the result of whole searches, by turns.

    The score is that of the network that is returned: on all search images, in float32.
    """
    batch = next(iter(data.search_val))[0][:1]
    found: Record = {name: {"seconds": [], "score": [], "images": []} for name in KINDS}
    found["episodes"] = args.episodes
    for seed in SEEDS:
        names = list(KINDS)
        for name in (*names[seed % len(names) :], *names[: seed % len(names)]):
            spent = Spent()
            result = autoprune.search(
                model, batch, data, "macs=50%", episodes=args.episodes, seed=seed, baselines=(),
                callbacks=[spent], **KINDS[name],
            )  # fmt: skip
            found[name]["seconds"].append(spent.seconds / len(spent.images))
            found[name]["score"].append(result.found.evaluation.score)
            if name == "racing":
                found[name]["images"].append(statistics.fmean(spent.images))
    return found
