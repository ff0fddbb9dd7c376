"""Searches whose candidates are evaluated by several processes."""

from pathlib import Path
from typing import Any

import pytest
import torch

import autoprune
from autoprune.errors import ArgumentError
from tests.api.problem import QUICK, data, network

EXAMPLE = torch.zeros(8, 1, 8, 8)


def search(**changes: Any) -> Any:
    return autoprune.search(network(), EXAMPLE, data(), "macs=60%", **QUICK | changes)


def essence(result: Any) -> list[Any]:
    return [(e.number, e.widths, e.evaluation) for e in result.history]


def test_the_same_candidates_have_the_same_values() -> None:
    alone, side_by_side = search(agent="random", episodes=5), search(agent="random", episodes=5, workers=2)
    assert essence(alone) == essence(side_by_side)
    assert side_by_side.plan.widths == alone.plan.widths
    assert "candidates, 2 workers" in side_by_side.timings.seconds
    assert {"agent", "re-fit", "score", "build", "least squares"} <= set(alone.timings.seconds)


def test_the_same_seed_and_workers_give_the_same_search(tmp_path: Path) -> None:
    first = search(episodes=7, workers=3)
    assert essence(first) == essence(search(episodes=7, workers=3))
    part = search(episodes=4, workers=3, run_dir=tmp_path / "run")
    whole = autoprune.resume(tmp_path / "run", model=network(), data=data(), episodes=7)
    assert essence(part) == essence(first)[:4] and essence(whole) == essence(first)
    weights = whole.model.state_dict()
    assert all(torch.equal(a, weights[name]) for name, a in first.model.state_dict().items())
    assert torch.get_num_threads() > 0


def test_actors_of_a_cluster_give_the_same_search() -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    assert essence(search(workers=2)) == essence(search(workers=2, ray="local"))


def test_what_cannot_be_done_side_by_side_is_refused() -> None:
    with pytest.raises(ArgumentError, match="workers: .*got 0"):
        search(workers=0)
