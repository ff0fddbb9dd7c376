"""Several budgets, one after the other: the trade-off between cost and quality."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.display import Shown
from autoprune.errors import ArgumentError
from autoprune.files import StrPath, replaced_file, write_text
from autoprune.run.asked import check_asked, recordable
from autoprune.run.checks import parsed_budget
from autoprune.run.directory import RunDirectory
from autoprune.run.result import SearchResult, format_table
from autoprune.run.stored import read_stored, write_stored, written_to

if TYPE_CHECKING:
    from autoprune.plan import Plan
    from autoprune.run.result import Measured

SUFFIXES = (".png", ".svg", ".pdf")
CSV_NAME = "sweep.csv"
RECORD_NAME = "sweep.json"
"""What was asked for, so that the same sweep can go on."""


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """What one budget gave.

    Attributes:
        budget: The budget, in canonical form.
        found: The returned network: widths, costs, score and metrics on the search images.
        plan: Its plan.
        run_dir: Where its run lies, or None.
    """

    budget: str
    found: "Measured"
    plan: "Plan"
    run_dir: Path | None


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Shown):
    """The trade-off between a cost and the score.

    Attributes:
        dense: The dense network.
        points: One per budget, in the order in which they were searched.
        cost: The cost that the front is drawn over: the first that all budgets limit, else `macs`.
    """

    dense: "Measured"
    points: tuple[SweepPoint, ...]
    cost: str

    def share(self, point: SweepPoint) -> float:
        """The point's cost by that of the dense network."""
        return point.found.costs[self.cost] / self.dense.costs[self.cost]

    @property
    def front(self) -> tuple[SweepPoint, ...]:
        """The points that no other one beats in cost and score at once, cheapest first."""
        ordered = sorted(self.points, key=lambda p: (self.share(p), -p.found.evaluation.score))
        kept: list[SweepPoint] = []
        for point in ordered:
            if not kept or point.found.evaluation.score > kept[-1].found.evaluation.score:
                kept.append(point)
        return tuple(kept)

    def rows(self) -> list[dict[str, Any]]:
        """One row per point as plain values: budget, costs, shares, score, metrics, front, plan."""
        front = {id(point) for point in self.front}
        rows = []
        for point in self.points:
            costs = point.found.costs
            shares = {f"{n} share": v / self.dense.costs[n] for n, v in costs.items() if self.dense.costs[n]}
            plan = "" if point.run_dir is None else str(point.run_dir / "pruned" / "plan.json")
            score = {"score": point.found.evaluation.score, **point.found.evaluation.metrics}
            ends = {"front": id(point) in front, "plan": plan}
            rows.append({"budget": point.budget, **costs, **shares, **score, **ends})
        return rows

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """The points as a text table, those on the front marked."""
        names = [n for n in self.dense.costs if all(n in p.found.costs for p in self.points)]
        labeled = "accuracy" in self.dense.evaluation.metrics
        table = [["budget", *names, "score", *["accuracy"] * labeled, "front"]]
        front = {id(point) for point in self.front}
        entries = [
            ("dense", self.dense, ""),
            *((p.budget, p.found, "*" * (id(p) in front)) for p in self.points),
        ]
        for text, measured, mark in entries:
            shares = [f"{100 * measured.costs[n] / self.dense.costs[n]:.1f}%" for n in names]
            accuracy = [f"{100 * measured.evaluation.metrics['accuracy']:.2f}%"] if labeled else []
            table.append([text, *shares, f"{measured.evaluation.score:.4f}", *accuracy, mark])
        return format_table(table)

    def to_csv(self, path: StrPath) -> None:
        """Write the rows as CSV in one step."""
        columns = list(dict.fromkeys(name for row in self.rows() for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_text(path, text.getvalue())

    def plot(self, path: StrPath) -> None:
        """Draw score over cost, with the front, as PNG, SVG or PDF.

        Raises:
            ArgumentError: Another suffix, or matplotlib is not installed.
        """
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise ArgumentError(f"path must end with one of {', '.join(SUFFIXES)}, got '{target.name}'")
        figure = _figure(self)
        with replaced_file(target) as temporary:
            figure.savefig(temporary, format=target.suffix.lower()[1:], dpi=150)


def sweep_budgets(
    search: Callable[..., SearchResult],
    resume: Callable[..., SearchResult],
    budgets: Sequence[str],
    run_dir: StrPath | None,
    agent: str,
    agent_settings: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Sweep:
    """Run the searches; `autoprune.sweep` documents arguments and errors.

    Args:
        search: Runs one search, given `budget`, `run_dir`, `agent` and `agent_settings`.
        resume: Continues one, given its folder and `agent`.
        budgets: Of the points.
        run_dir: Folder for one run per point and the table, new or of the same sweep; None writes nothing.
        agent: Name of the agent.
        agent_settings: Its settings.
        settings: All others that decide what comes out.
    """
    parsed = [parsed_budget(budget) for budget in budgets]
    if len(parsed) < 2 or len(set(parsed)) < len(parsed):
        raise ArgumentError(f"budgets must be at least two different ones, got {', '.join(map(str, parsed))}")
    folder = None if run_dir is None else Path(run_dir)
    if folder is not None:
        asked = {"agent": agent, "agent_settings": agent_settings, **settings}
        _record(folder, [str(budget) for budget in parsed], recordable(asked))
    shared = [name for name in parsed[0].names if all(name in budget.names for budget in parsed)]
    points: list[SweepPoint] = []
    result: SearchResult | None = None
    for number, budget in enumerate(parsed):
        name = f"{number:02}-{re.sub(r'[^A-Za-z0-9.]+', '-', str(budget)).strip('-')}"
        place = None if folder is None else folder / name
        chosen: Any = agent if result is None else _seeded(agent, result)
        if place is not None and RunDirectory(place).config_path.exists():
            result = resume(place, agent=None if result is None else chosen)
        else:
            result = search(budget=budget, run_dir=place, agent=chosen, agent_settings=agent_settings)
        points.append(SweepPoint(str(budget), result.found, result.plan, place))
        sweep = Sweep(result.dense, tuple(points), shared[0] if shared else "macs")
        if folder is not None:
            sweep.to_csv(folder / CSV_NAME)
        if result.stopped:
            break
    return sweep


def _record(folder: Path, budgets: list[str], asked: dict[str, Any]) -> None:
    """Note what is asked for, or see that it is what an earlier sweep in the folder was asked for."""
    path = folder / RECORD_NAME
    if path.exists():
        before = read_stored(path)
        check_asked(folder, "a sweep", before["asked"], asked)
        known = before["budgets"]
        if budgets[: len(known)] != known:
            raise ArgumentError(
                f"budgets must begin with those of the sweep in '{folder}' ({', '.join(known)}), "
                f"got {', '.join(budgets)}; more may follow"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise ArgumentError(f"run_dir must be new, empty or hold this sweep, got '{folder}'")
    with written_to(folder, "choose a run_dir that you may write to"):
        folder.mkdir(parents=True, exist_ok=True)
        write_stored(path, {"budgets": budgets, "asked": asked})


def _seeded(agent: str, last: SearchResult) -> Callable[..., Any]:
    """Makes the agent for the next budget, which begins with what the last one gave."""
    from autoprune.run.seeded import SeededAgent

    def seeded(env: Any, *, seed: int, **settings: Any) -> SeededAgent:
        return SeededAgent(env, seed=seed, agent=agent, widths=last.best.widths, **settings)

    return seeded


def _figure(sweep: Sweep) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError("a plot needs matplotlib: pip install 'autoprune[plot]'") from error
    figure = Figure(figsize=(5.5, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        [100 * sweep.share(p) for p in sweep.front],
        [p.found.evaluation.score for p in sweep.front],
        "-",
        color="0.6",
        zorder=1,
    )
    for point in sweep.points:
        at = 100 * sweep.share(point), point.found.evaluation.score
        axes.plot(*at, "o", color="C0" if point in sweep.front else "0.7")
        axes.annotate(point.budget, at, textcoords="offset points", xytext=(4, -9), fontsize=7)
    axes.plot(100, sweep.dense.evaluation.score, "s", color="black", label="dense")
    axes.set_xlabel(f"{sweep.cost}, percent of the dense network")
    axes.set_ylabel("score on the search images")
    axes.legend(fontsize=8)
    return figure
