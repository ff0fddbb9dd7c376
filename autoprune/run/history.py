"""Episodes as JSON rows and back, exactly."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autoprune.score import Evaluation

if TYPE_CHECKING:
    from autoprune.agents import Episode


def to_row(episode: "Episode", names: Sequence[str]) -> dict[str, Any]:
    """An episode as JSON values; the widths as a list in the order of `names`."""
    return {
        "number": episode.number,
        "widths": [int(episode.widths[name]) for name in names],
        "reward": float(episode.reward),
        "score": float(episode.evaluation.score),
        "metrics": dict(episode.evaluation.metrics),
        "costs": dict(episode.costs),
        "seconds": round(episode.seconds, 6),
    }


def from_row(row: dict[str, Any], names: Sequence[str]) -> "Episode":
    """The episode that `to_row` was given."""
    from autoprune.agents import Episode

    return Episode(
        number=row["number"],
        widths=dict(zip(names, row["widths"], strict=True)),
        reward=row["reward"],
        evaluation=Evaluation(row["score"], row["metrics"]),
        costs=row["costs"],
        seconds=row["seconds"],
    )
