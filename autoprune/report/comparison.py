"""Accuracies on the test set, which a search never sees: recorded by whoever measures them afterwards."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from autoprune.run.outcome import MeasuredRecord

NAME = "comparison.json"


class Tested(Protocol):
    """A network on the test set: a row of the table that the command line prints."""

    @property
    def name(self) -> str:
        """Dense, uniform, greedy or found."""

    @property
    def costs(self) -> Mapping[str, float]:
        """All known costs by name."""

    @property
    def score(self) -> float:
        """On the search images."""

    @property
    def before(self) -> float | None:
        """Accuracy (0 to 1) on the test set before fine-tuning."""

    @property
    def after(self) -> float | None:
        """The same after it."""

    @property
    def milliseconds(self) -> float | None:
        """Measured time of one forward pass."""


class TestedRecord(BaseModel):
    """One row, see `Tested`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    costs: dict[str, int | float]
    score: float
    before: float | None
    after: float | None
    milliseconds: float | None = None


class Comparison(BaseModel):
    """`comparison.json`: networks that were made alike, the dense one first.

    Attributes:
        version: Of the format.
        epochs: Of the fine-tuning; 0 without.
        rows: By network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    epochs: int
    rows: tuple[TestedRecord, ...]


def record_comparison(run_dir: str | PathLike[str], rows: Iterable[Tested], epochs: int) -> None:
    """Add the accuracies on the test set to a run, and write its report anew.

    Args:
        run_dir: Folder of a search that has ended.
        rows: The networks that were tested; `found` is the one that the search returned.
        epochs: Of the fine-tuning; 0 without.

    Raises:
        RunError: The folder cannot be written to.
    """
    from autoprune.report.write import write_report_or_log
    from autoprune.run.stored import write_stored, written_to

    path = Path(run_dir) / NAME
    records = tuple(
        TestedRecord(
            name=row.name,
            costs=dict(row.costs),
            score=row.score,
            before=row.before,
            after=row.after,
            milliseconds=row.milliseconds,
        )
        for row in rows
    )
    with written_to(path, "the result of the search is safe; make room or give access"):
        write_stored(path, Comparison(epochs=epochs, rows=records).model_dump(mode="json"))
    write_report_or_log(run_dir)


def read_comparison(run_dir: Path, found: "MeasuredRecord") -> Comparison | None:
    """What was recorded of the network that the search returned; None without, or of an earlier result.

    Raises:
        RunError: The file is damaged.
    """
    from autoprune.run.stored import read_stored, validated

    path = run_dir / NAME
    if not path.exists():
        return None
    comparison = validated(Comparison, path, read_stored(path))
    same = any(
        row.name == "found" and row.score == found.score and row.costs == found.costs
        for row in comparison.rows
    )
    return comparison if same else None
