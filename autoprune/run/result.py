"""What a search gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from autoprune.display import Shown, beside, number
from autoprune.errors import ArgumentError
from autoprune.timings import Timings

if TYPE_CHECKING:
    from optuna import Study
    from pandas import DataFrame

    from autoprune.agents import Episode
    from autoprune.latency import Timed
    from autoprune.plan import Plan
    from autoprune.score import Evaluation


@dataclass(frozen=True, repr=False)
class Measured(Shown):
    """One network and what it costs and is worth: a row of the comparison.

    Attributes:
        name: "dense", "uniform", "greedy", "best" (the best candidate as the search saw it) or "found" (the
            returned network, re-fitted).
        widths: Units that stay, by name of the prunable group.
        costs: Every known cost by name, `macs` (of the example inputs) and `params` among them.
        evaluation: Score and metrics on the search images.
    """

    name: str
    widths: Mapping[str, int]
    costs: Mapping[str, float]
    evaluation: "Evaluation"

    def __str__(self) -> str:
        known = ("accuracy", "loss", "kl")
        metrics = {name: self.evaluation.metrics[name] for name in known if name in self.evaluation.metrics}
        costs = [f"{name} {number(value)}" for name, value in self.costs.items()]
        values = [f"score {self.evaluation.score:.4f}", *(f"{name} {v:.4f}" for name, v in metrics.items())]
        return f"{self.name}: {', '.join([*costs, *values])}"


@dataclass(frozen=True, eq=False, repr=False)
class SearchResult(Shown):
    """What a search found.

    Attributes:
        model: The pruned network, on the device and in the mode of the one that was given: of the same class
            or, if `plan.form` is "graph", the rewritten exported graph.
        plan: Which units it keeps; `autoprune.apply(dense, plan)` makes the same structure again.
        history: Every finished episode.
        policy: What the agent learned, an `autoprune.Policy` that can be saved and applied to other networks;
            None where an agent has none.
        best: The best episode, whose candidate was rebuilt for `model`.
        dense: The dense network.
        found: The returned network.
        baselines: The same for allocations without a search, by name.
        limits: The budget in absolute numbers, by cost.
        study: The Optuna study with one trial per episode.
        stopped: Whether the search was stopped before its last episode.
        run_dir: The run directory or None; `run_dir/pruned` is what `autoprune.load` reads.
        timed: Measured times of the returned and the dense network; None where no latency was asked for.
        remarks: What a reader must know of the result, such as a latency table of another machine.
        timings: Where the seconds of the search went, behind calibration: making and scoring candidates, the
            agent, storage. `timings.table()` shows it.
    """

    model: nn.Module
    plan: "Plan"
    history: "tuple[Episode, ...]"
    policy: Any
    best: "Episode"
    dense: Measured
    found: Measured
    baselines: Mapping[str, Measured]
    limits: Mapping[str, float]
    study: "Study"
    stopped: bool = False
    run_dir: Path | None = None
    timed: "Timed | None" = None
    remarks: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)

    def rows(self) -> tuple[Measured, ...]:
        """The comparison: dense, the baselines, the best candidate, and the network that is returned."""
        best = Measured("best", self.best.widths, self.best.costs, self.best.evaluation)
        return (self.dense, *self.baselines.values(), best, self.found)

    def to_dataframe(self) -> "DataFrame":
        """Every episode as a row, for pandas.

        Returns:
            Columns `episode`, `reward`, `score`, the metrics, the costs, `seconds`, and the width of every
            group as `width:NAME`.

        Raises:
            ArgumentError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ArgumentError("a data frame needs pandas: pip install 'autoprune[pandas]'") from error
        return pandas.DataFrame([_flat(episode) for episode in self.history])

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """The comparison as a text table, and one line on the run."""
        rows = self.rows()
        costs = list(dict.fromkeys([*("macs", "params"), *self.limits]))
        metrics = [m for m in ("accuracy", "loss") if all(m in r.evaluation.metrics for r in rows)]
        table = [["", *costs, "score", *metrics]]
        for row in rows:
            cells = [beside(row.costs[name], self.dense.costs[name]) for name in costs]
            values = [row.evaluation.score, *(row.evaluation.metrics[m] for m in metrics)]
            table.append([row.name, *cells, *(f"{value:.4f}" for value in values)])
        lines = [self._line(), *([] if self.timed is None else [str(self.timed)]), *self.remarks]
        return f"{format_table(table)}\n\n" + "\n".join(lines)

    def _line(self) -> str:
        limits = ", ".join(f"{name} <= {limit:,}" for name, limit in self.limits.items())
        state = "stopped after" if self.stopped else "best of"
        return (
            f"{state} {len(self.history)} episodes: episode {self.best.number}, score "
            f"{self.best.evaluation.score:.4f}; budget {limits}; score and metrics on the search images"
        )


def _flat(episode: "Episode") -> dict[str, Any]:
    return {
        "episode": episode.number,
        "reward": episode.reward,
        "score": episode.evaluation.score,
        **episode.evaluation.metrics,
        **episode.costs,
        "seconds": episode.seconds,
        **{f"width:{name}": width for name, width in episode.widths.items()},
    }


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Align a table of texts, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
