"""What a search tells whoever listens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.agents import Episode
    from autoprune.run.result import SearchResult


@dataclass(frozen=True)
class SearchStart:
    """What is known before the first episode.

    Attributes:
        episodes: Number of episodes in total.
        done: How many of them are finished already (0 unless the search is resumed).
        dense: Cost of the dense network by name, for example `{"macs": ..., "params": ...}`.
        limits: The budget in absolute numbers, by name.
        groups: Number of prunable groups, the steps of an episode.
        best: The best finished episode of a resumed search, or None.
    """

    episodes: int
    done: int
    dense: dict[str, float]
    limits: dict[str, float]
    groups: int
    best: "Episode | None" = None


class Callback:
    """Listens to a search; override what you need.

    A `KeyboardInterrupt` raised in `on_episode` stops the search as Ctrl-C does: it ends well, with the best
    so far.
    """

    def on_stage(self, stage: str) -> None:
        """A stage begins: trace, calibrate, rank, baselines, search, refit, verify or save."""

    def on_step(self, done: int, total: int) -> None:
        """So many steps of the present stage (images of "calibrate", allocations of "baselines") are done.

        0 begins; where the loader holds fewer images than were asked for, the last is below `total`.
        """

    def on_start(self, start: SearchStart) -> None:
        """The first episode is about to run."""

    def on_episode(self, episode: "Episode", best: "Episode") -> None:
        """An episode is finished and stored; `best` is the best one so far, perhaps this one."""

    def on_end(self, result: "SearchResult") -> None:
        """The search is over and its artefacts are written."""
