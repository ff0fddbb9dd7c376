"""Everything that a report shows, as it lies in the run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import RunError
from autoprune.report.comparison import Comparison, read_comparison

if TYPE_CHECKING:
    from autoprune.run.config import RunConfig
    from autoprune.run.directory import RunDirectory
    from autoprune.run.outcome import MeasuredRecord, Outcome


@dataclass(frozen=True)
class Candidate:
    """One finished episode.

    Attributes:
        number: Counts the episodes, from 0.
        widths: Units that stay, in the order of the prunable groups.
        reward: What the agent maximizes.
        score: Score on the search images.
        accuracy: Share of the search images that are right, None without labels.
        costs: By name.
    """

    number: int
    widths: tuple[int, ...]
    reward: float
    score: float
    accuracy: float | None
    costs: dict[str, float]


@dataclass(frozen=True)
class Run:
    """A search that has ended.

    Attributes:
        name: Of the folder.
        config: `config.json`.
        outcome: `outcome.json`.
        history: Every episode, in order.
        seconds: Wall time of the episodes together.
        comparison: What was measured on the test set, if it was.
        later: Episodes that were run after the outcome was written, by a search that was continued and has
            not ended; they are not part of `history`.
        folder: Where it lies.
    """

    name: str
    config: "RunConfig"
    outcome: "Outcome"
    history: tuple[Candidate, ...]
    seconds: float
    comparison: Comparison | None
    later: int
    folder: Path | None = None

    @property
    def dense(self) -> "MeasuredRecord":
        """The dense network."""
        return self.outcome.row("dense")

    @property
    def best(self) -> "MeasuredRecord":
        """The best candidate as the search saw it."""
        return self.outcome.row("best")

    @property
    def found(self) -> "MeasuredRecord":
        """The network that the search returned."""
        return self.outcome.row("found")

    @property
    def cost(self) -> str:
        """The cost that the budget limits; the first of several."""
        return next(iter(self.outcome.limits))


def read_run(directory: "RunDirectory") -> Run:
    """Read a run directory.

    Raises:
        RunError: There is no run, its search has not ended, or one of its files is damaged.
    """
    path = directory.path
    if not directory.config_path.is_file():
        raise RunError(f"RUN '{path}' holds no run (no config.json); start one with `autoprune search`")
    config = directory.read_config()
    checkpoint = directory.checkpoints.load()
    if checkpoint is None or not directory.outcome_path.is_file():
        raise RunError(
            f"RUN '{path}' holds a search that has not ended (no outcome.json); end it with "
            f"`autoprune resume {path}`, which also writes the report"
        )
    outcome = directory.read_outcome()
    rows = checkpoint.history[: outcome.episodes]
    return Run(
        name=path.resolve().name,
        config=config,
        outcome=outcome,
        history=tuple(map(_candidate, rows)),
        seconds=sum(row["seconds"] for row in rows),
        comparison=read_comparison(path, outcome.row("found")),
        later=len(checkpoint.history) - len(rows),
        folder=path,
    )


def _candidate(row: dict[str, Any]) -> Candidate:
    return Candidate(
        number=row["number"],
        widths=tuple(row["widths"]),
        reward=row["reward"],
        score=row["score"],
        accuracy=row["metrics"].get("accuracy"),
        costs=row["costs"],
    )
