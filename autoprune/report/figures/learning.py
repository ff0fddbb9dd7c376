"""The learning curve."""

from typing import Any

from autoprune.report.figures.chart import Chart, View
from autoprune.report.figures.style import COLORS, DASHES, SYMBOLS, cut_note, layout, score_range
from autoprune.report.read import Candidate, Run
from autoprune.report.words import (
    costs_text,
    percent,
    score_label,
    scored,
)


def learning(run: Run) -> Chart:
    """Score per episode, the best so far, and the levels of the baselines."""
    history = run.history
    scores = [c.score for c in history]
    levels = [row.score for row in (*run.outcome.baselines, run.found)]
    shown, below = score_range(scores, levels)
    axis: dict[str, Any] = {} if shown is None else {"range": shown}
    view = View(
        "score",
        [_candidates(run), _best(history), *_levels(run), _found(run)],
        layout(420, "episode", "score", yaxis={"title": {"text": "score"}, "automargin": True} | axis),
    )
    first = _above(history, run)
    return Chart(
        "learning",
        "How the search learned",
        f"Each dot is one candidate network. The score is {score_label(run.config.settings.reward)}; higher "
        "is better. The line is the best candidate so far, the level lines are allocations that need no "
        "search, treated like every candidate." + cut_note(below),
        f"{len(history):,} candidates score from {scored(min(scores))} to {scored(max(scores))}; the best is "
        f"episode {run.outcome.best} with {scored(run.best.score)}. {first}The returned network, re-fitted, "
        f"scores {scored(run.found.score)}.",
        (view,),
    )


def hover(candidate: Candidate, run: Run) -> str:
    """What a candidate says when it is pointed at."""
    lines = [f"<b>episode {candidate.number}</b>", f"score: {scored(candidate.score)}"]
    lines += [] if candidate.accuracy is None else [f"accuracy: {percent(candidate.accuracy)}"]
    return "<br>".join([*lines, costs_text(candidate.costs, run.dense.costs, list(candidate.costs))])


def _candidates(run: Run) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "candidate",
        "x": [c.number for c in run.history],
        "y": [c.score for c in run.history],
        "hovertext": [hover(c, run) for c in run.history],
        "hoverinfo": "text",
        "marker": {"color": COLORS["candidate"], "size": 6, "opacity": 0.85},
    }


def _best(history: tuple[Candidate, ...]) -> dict[str, Any]:
    best: list[Candidate] = []
    for candidate in history:
        best.append(candidate if not best or candidate.reward > best[-1].reward else best[-1])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": [c.number for c in history],
        "y": [c.score for c in best],
        "hovertemplate": "best up to episode %{x}: %{y:.4f}<extra></extra>",
        "line": {"color": COLORS["best"], "width": 2.5, "shape": "hv"},
    }


def _levels(run: Run) -> list[dict[str, Any]]:
    ends = [run.history[0].number - 0.5, run.history[-1].number + 0.5]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": row.name,
            "x": ends,
            "y": [row.score, row.score],
            "hovertemplate": f"{row.name}: {scored(row.score)}<extra></extra>",
            "line": {
                "color": COLORS.get(row.name, COLORS["dense"]),
                "width": 2,
                "dash": DASHES.get(row.name),
            },
        }
        for row in run.outcome.baselines
    ]


def _found(run: Run) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "found",
        "x": [run.outcome.best],
        "y": [run.found.score],
        "hovertemplate": f"returned network, re-fitted: {scored(run.found.score)}<extra></extra>",
        "marker": {"color": COLORS["found"], "symbol": SYMBOLS["found"], "size": 14},
    }


def _above(history: tuple[Candidate, ...], run: Run) -> str:
    """When the search passed all baselines."""
    if not run.outcome.baselines:
        return ""
    level = max(row.score for row in run.outcome.baselines)
    first = next((c.number for c in history if c.score > level), None)
    if first is None:
        return f"None scores above the better baseline ({scored(level)}). "
    return f"Episode {first} is the first above all baselines ({scored(level)}). "
