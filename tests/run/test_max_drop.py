"""The accuracy-guaranteed search."""

from pathlib import Path
from typing import Any

import pytest

import autoprune
from autoprune.errors import ArgumentError
from autoprune.run.max_drop import Allowance
from autoprune.score import Evaluation
from tests.api.problem import QUICK, data, network
from tests.api.runs import EXAMPLE, what


def evaluation(accuracy: float) -> Evaluation:
    return Evaluation(accuracy, {"accuracy": accuracy})


def test_any_candidate_within_the_allowance_beats_any_beyond_it() -> None:
    reward = Allowance(0.9, 1.0, {"macs": 100, "params": 10}, ("macs", "params"))
    costs = {"macs": 50.0, "params": 8.0}
    assert reward(evaluation(0.9), costs) == pytest.approx(-(0.5 + 0.8) / 2)
    assert reward(evaluation(0.89), costs) == reward(evaluation(0.95), costs)  # just within, and better
    assert reward(evaluation(0.89), {"macs": 100.0, "params": 10.0}) == -1.0
    assert reward(evaluation(0.8899), {"macs": 1.0, "params": 1.0}) < -1
    assert reward(evaluation(0.5), costs) < reward(evaluation(0.6), costs) < -1


def search(**changes: Any) -> Any:
    settings = QUICK | {"episodes": 8, "baselines": ()} | changes
    return autoprune.search(network(), EXAMPLE, data(), "macs=100%", **settings)


def test_returns_the_smallest_that_keeps_the_allowance(tmp_path: Path) -> None:
    result = search(max_drop=5.0, run_dir=tmp_path / "run")
    dense = result.dense.evaluation.metrics["accuracy"]
    kept = [e for e in result.history if 100 * (dense - e.evaluation.metrics["accuracy"]) <= 5.0]
    assert kept and len(kept) <= len(result.history)
    assert result.best.costs["macs"] == min(e.costs["macs"] for e in kept)
    assert result.found.evaluation.metrics["accuracy"] >= dense - 0.05
    assert "at most 5 are allowed" in result.summary()
    again = autoprune.resume(tmp_path / "run", model=network(), data=data(), episodes=9)
    assert what(again)[:8] == what(result) and "at most 5 are allowed" in again.summary()


def test_says_so_if_no_candidate_keeps_it() -> None:
    result = search(max_drop=0.0, episodes=1, seed=3, lower=0.0, search_images=64)
    lost = result.dense.evaluation.metrics["accuracy"] - result.found.evaluation.metrics["accuracy"]
    assert ("NO CANDIDATE KEPT THAT" in result.summary()) == (lost > 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_drop": -1}, r"max_drop must lie in \[0, 100\), percentage points of accuracy, got -1"),
        ({"max_drop": float("nan")}, "max_drop must lie in"),
        ({"max_drop": 1.0, "reward": "accuracy"}, "max_drop is a reward of its own; leave reward out"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        search(**changes)
