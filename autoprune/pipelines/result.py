"""What every pipeline returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.display import Shown
from autoprune.masks import Masks
from autoprune.measures import Measures
from autoprune.plan import Plan

_COLUMNS = ("round", "sparsity", "accuracy_before", "accuracy_after")


@dataclass(frozen=True, eq=False, repr=False)
class PipelineResult(Shown):
    """A pruned network and how it came about.

    Attributes:
        pipeline: Name of the pipeline.
        model: The pruned network: of the dense shapes with zeros (`masks`), or smaller (`plan`).
        masks: Which weights stay, or None where channels were cut out.
        plan: Which channels stay, or None where weights were masked.
        history: One row per round: `round`, `sparsity` (share of pruned weights, or of removed parameters
            where channels are cut), `accuracy_before` and `accuracy_after` the round's training, `losses` of
            its epochs, and what else a pipeline has to say.
        measures: What is left, per layer and in total.
        run_dir: The folder with the checkpoints and the result, or None.
    """

    pipeline: str
    model: nn.Module
    masks: Masks | None
    plan: Plan | None
    history: list[dict[str, Any]]
    measures: Measures
    run_dir: Path | None = None

    @property
    def sparsity(self) -> float:
        """Share of the maskable weights that is pruned, or of the parameters that is removed, in 0..1."""
        if self.masks is not None:
            return self.masks.sparsity
        return self.measures.total.pruned_percent / 100

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """The history and the measures as plain tables."""
        return "\n".join(
            [
                f"{self.pipeline}: sparsity {self.sparsity:.2%}",
                "",
                *_lines(self.history),
                "",
                str(self.measures),
            ]
        )


def _lines(history: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [tuple(name.replace("_", " ") for name in _COLUMNS)]
    rows += [tuple(_cell(name, row.get(name)) for name in _COLUMNS) for row in history]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if name == "round" else f"{value:.2%}"
