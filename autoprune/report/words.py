"""Numbers and sentences of a report."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from autoprune.display import beside

if TYPE_CHECKING:
    from autoprune.report.read import Run
    from autoprune.run.outcome import MeasuredRecord

COSTS = {
    "macs": "MACs",
    "params": "parameters",
    "latency": "latency in ms",
    "size": "size in bytes",
    "memory": "memory in bytes",
}
NAMES = {
    "dense": "dense",
    "uniform": "uniform",
    "greedy": "greedy",
    "best": "best candidate",
    "found": "found",
}
"""How the rows of a comparison are shown."""

SCORES = {
    "kl": "minus the KL divergence from the dense outputs, nats per image",
    "accuracy": "accuracy on the search images",
    "accuracy_guaranteed": "accuracy on the search images",
}


def label(cost: str) -> str:
    """A cost as it is shown."""
    return COSTS.get(cost, cost)


def short(value: float) -> str:
    """A cost with three digits and K, M or G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def scored(value: float) -> str:
    """A score with four decimals; what rounds to zero has no sign."""
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def percent(share: float, decimals: int = 1) -> str:
    """A share (0 to 1) as a percentage."""
    return f"{100 * share:.{decimals}f}%"


def span(seconds: float) -> str:
    """A length of time."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def epochs(count: int) -> str:
    """So many epochs."""
    return f"{count} {'epoch' if count == 1 else 'epochs'}"


def joined(parts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def kept(run: "Run", cost: str) -> float:
    """Share (0 to 1) of a cost that the returned network keeps."""
    dense = run.dense.costs[cost]
    return run.found.costs[cost] / dense if dense else 1.0


def name_of_group(name: str) -> str:
    """A group as it is shown: without the suffix that nearly all of them share."""
    return name.replace(".weight", "")


def marked(text: str) -> str:
    """A text that Plotly, which reads tags and entities, shows as it is."""
    return escape(text, quote=False)


def score_label(reward: str) -> str:
    """What the score is, from the reward of the search."""
    return SCORES.get(reward, SCORES["kl"])


def worth(row: "MeasuredRecord") -> str:
    """Accuracy where it is known, else the score."""
    accuracy = row.metrics.get("accuracy")
    return f"score {scored(row.score)}" if accuracy is None else percent(accuracy)


def summary(run: "Run") -> str:
    """What the search did to the network, in one sentence; baselines only where they were treated alike."""
    costs = list(dict.fromkeys([run.cost, *(c for c in ("macs", "params") if c in run.dense.costs)]))
    shares = joined(
        [f"{percent(kept(run, cost))} of the {label(cost).partition(' in ')[0]}" for cost in costs]
    )
    return (
        f"The pruned network keeps {shares}, within the budget {run.config.settings.budget}: "
        f"{_on_test(run) or _on_search(run)}."
    )


def _on_search(run: "Run") -> str:
    images = f"{run.outcome.images['search']:,} search images"
    if "accuracy" in run.found.metrics:
        return f"it gives {worth(run.found)} right answers on {images}, the dense one {worth(run.dense)}"
    return f"its outputs on {images} are {run.found.metrics['kl']:.4f} nats from those of the dense one"


def accuracies_on_test(run: "Run") -> dict[str, float]:
    """By network, after fine-tuning where there was some; empty if they are not known."""
    if run.comparison is None:
        return {}
    tuned = run.comparison.epochs > 0
    found = {row.name: row.after if tuned else row.before for row in run.comparison.rows}
    known = {name: value for name, value in found.items() if value is not None}
    return known if {"found", "dense"} <= known.keys() else {}


def _on_test(run: "Run") -> str:
    accuracies = accuracies_on_test(run)
    if not accuracies:
        return ""
    found, dense = (percent(accuracies[name], 2) for name in ("found", "dense"))
    return f"on the test set it gives {found} right answers, the dense network {dense}{_tuned(run)}"


def _tuned(run: "Run") -> str:
    assert run.comparison is not None
    count = run.comparison.epochs
    return f", both after {epochs(count)} of fine-tuning" if count else ""


def rivals(run: "Run") -> str:
    """The baselines on the test set, treated like the network that was found; empty if they are not known."""
    accuracies = accuracies_on_test(run)
    named = [f"{n} gives {percent(v, 2)}" for n, v in accuracies.items() if n not in ("found", "dense")]
    return f"On the test set {joined(named)}." if named else ""


def verdict(run: "Run") -> str:
    """Whether the search was worth it: the best candidate against baselines that were treated alike."""
    baselines = run.outcome.baselines
    if not baselines:
        return "No baseline was scored, so that nothing here says whether the search was worth it."
    rival = max(baselines, key=lambda row: row.score)
    gain = run.best.score - rival.score
    others = f" {rivals(run)}" if accuracies_on_test(run) else ""
    if gain > 0:
        above = f"the better baseline ({rival.name}, {scored(rival.score)})"
        return (
            f"Treated alike, the best of {len(run.history):,} candidates scores {scored(run.best.score)}, "
            f"{gain:.4f} above {above if len(baselines) > 1 else f'{rival.name} ({scored(rival.score)})'}."
            f"{others}"
        )
    return (
        f"The search found nothing better than {rival.name}, which needs no search: {scored(run.best.score)} "
        f"against {scored(rival.score)}. More episodes or another agent may help.{others}"
    )


def accuracy_error(accuracy: float, images: int) -> float:
    """Standard error of a share that was measured on so many images."""
    return float((accuracy * (1 - accuracy) / images) ** 0.5)


def costs_text(costs: Mapping[str, float], dense: Mapping[str, float], names: Sequence[str]) -> str:
    """Costs with their shares of the dense network, for hover texts."""
    return "<br>".join(
        f"{label(name)}: {beside(costs[name], dense[name])}" for name in names if dense.get(name)
    )
