"""`include`, `exclude` and `floor_units` of a whole search."""

from pathlib import Path
from typing import Any

import pytest

import autoprune
from autoprune.errors import ArgumentError
from tests.api.problem import QUICK, data, network


def search(**changes: Any) -> autoprune.SearchResult:
    return autoprune.search(network(), None, data(), "macs=70%", **{**QUICK, "episodes": 3, **changes})


def test_excluded_groups_stay_dense_in_every_episode() -> None:
    result = search(exclude=("stem.*",), floor_units=3)
    sizes = {"conv1.weight": 8, "conv3.weight": 12}
    for episode in result.history:
        assert set(episode.widths) == set(sizes)
        assert min(episode.widths.values()) >= 3
    shapes = {name: tuple(p.shape) for name, p in result.model.named_parameters()}
    assert shapes["stem.weight"][0] == 8
    assert shapes["conv3.weight"][1] == 8


def test_only_included_groups_are_pruned() -> None:
    result = search(include=["conv1.*"], lower=0.0)
    assert all(set(episode.widths) == {"conv1.weight"} for episode in result.history)


def test_a_resumed_search_keeps_the_restriction(tmp_path: Path) -> None:
    first = search(exclude=("stem.*",), run_dir=tmp_path / "run")
    more = autoprune.resume(tmp_path / "run", model=network(), data=data(), episodes=5)
    assert [e.widths for e in more.history][:3] == [e.widths for e in first.history]
    assert all("stem.weight" not in e.widths for e in more.history)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude": ("stm.*",)}, "exclude: no group matches 'stm.*'; did you mean 'stem.weight'"),
        ({"exclude": "stem.*"}, "exclude must be a sequence of names or patterns"),
        ({"include": ("conv1.*",), "exclude": ("conv1.weight",)}, "must leave a group to prune"),
        ({"floor_units": 0}, "floor_units: .*got 0"),
        (
            {"floor_units": 9},
            "floor_units must not exceed the size of a prunable group, got 9, but 'stem.weight'",
        ),
    ],
)
def test_bad_input_is_refused_before_the_calibration(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.run.problem.calibrate", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(ArgumentError, match=message):
        search(**changes)
