"""Sweeps over budgets."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import autoprune
from autoprune import api
from autoprune.cli.app import app
from autoprune.errors import ArgumentError, RunError
from autoprune.run.result import Measured
from autoprune.run.sweep import Sweep, SweepPoint
from autoprune.score import Evaluation
from tests.api.problem import QUICK, data, network
from tests.api.runs import EXAMPLE
from tests.cli.conftest import NETWORK
from tests.cli.invoke import invoke

BUDGETS = ["macs=70%", "macs=50%", "macs=30%,params=60%"]


def sweep(run_dir: Path | None, budgets: list[str] = BUDGETS, **changes: Any) -> Sweep:
    settings = QUICK | {"episodes": 3, "baselines": ()} | changes
    return api.sweep(network(), EXAMPLE, data(), budgets, run_dir=run_dir, **settings)


def test_every_point_begins_with_the_last_one(tmp_path: Path) -> None:
    starts: list[dict[str, int]] = []
    bests: list[dict[str, int]] = []

    class Watch(autoprune.Callback):
        def on_episode(self, episode: Any, best: Any) -> None:
            if episode.number == 0:
                starts.append(episode.widths)

        def on_end(self, result: Any) -> None:
            bests.append(result.best.widths)

    result = sweep(tmp_path / "sweep", agent="surrogate", callbacks=[Watch()])
    assert [p.budget for p in result.points] == ["macs=70%", "macs=50%", "macs=30%,params=60%"]
    for before, start in zip(bests, starts[1:], strict=False):
        assert all(start[name] <= before[name] for name in start)
    assert [round(result.share(p), 6) <= s for p, s in zip(result.points, (0.7, 0.5, 0.3), strict=True)] == [
        True
    ] * 3
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["budget"] for row in rows] == [p.budget for p in result.points]
    assert all(Path(row["plan"]).is_file() and "macs share" in row for row in rows)
    assert len(result.table().splitlines()) == 2 + 1 + 3
    small = autoprune.load(tmp_path / "sweep" / "02-macs-30-params-60" / "pruned", network())
    assert small(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def point(cost: float, score: float) -> SweepPoint:
    return SweepPoint(f"macs={cost}%", measured(cost, score), None, None)  # type: ignore[arg-type]


def measured(cost: float, score: float) -> Measured:
    return Measured("x", {}, {"macs": cost, "params": 1}, Evaluation(score, {}))


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(70, -0.1), (50, -0.2), (30, -0.5)], [2, 1, 0]),
        ([(70, -0.3), (50, -0.2), (30, -0.5)], [2, 1]),
        ([(50, -0.2), (50, -0.1)], [1]),
        ([(50, -0.1), (70, -0.1)], [0]),
    ],
)
def test_the_front(points: list[tuple[float, float]], front: list[int], tmp_path: Path) -> None:
    result = Sweep(measured(100, 0), tuple(point(*p) for p in points), "macs")
    assert [result.points.index(p) for p in result.front] == front
    assert result.table().count("*") == len(front)
    result.plot(tmp_path / "front.svg")
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")
    with pytest.raises(ArgumentError, match="path must end with one of .png, .svg, .pdf, got 'a.txt'"):
        result.plot(tmp_path / "a.txt")


def test_refuses(tmp_path: Path) -> None:
    for budgets in (["macs=50%"], ["macs=50%", "macs=50%"]):
        with pytest.raises(ArgumentError, match="budgets must be at least two different ones, got macs=50%"):
            sweep(None, budgets)
    (tmp_path / "x").write_text("")
    with pytest.raises(ArgumentError, match="run_dir must be new, empty or hold this sweep"):
        sweep(tmp_path)
    with pytest.raises(RunError, match="cannot write to .*; choose a run_dir that you may write to"):
        sweep(tmp_path / "x" / "below a file")


class Killed(Exception):
    """What a search does not catch."""


class Log(autoprune.Callback):
    """Notes which episodes were played, and fails when it has seen so many."""

    def __init__(self, limit: int | None = None) -> None:
        self.seen: list[int] = []
        self._limit = limit

    def on_episode(self, episode: Any, best: Any) -> None:
        self.seen.append(episode.number)
        if len(self.seen) == self._limit:
            raise Killed


@pytest.mark.parametrize(("limit", "left"), [(1, [1, 2, 0, 1, 2, 0, 1, 2]), (5, [2, 0, 1, 2]), (9, [])])
def test_a_broken_sweep_goes_on(limit: int, left: list[int], tmp_path: Path) -> None:
    whole = sweep(tmp_path / "whole", agent="surrogate")
    with pytest.raises(Killed):
        sweep(tmp_path / "broken", agent="surrogate", callbacks=[Log(limit)])
    log = Log()
    again = sweep(tmp_path / "broken", agent="surrogate", callbacks=[log])
    assert log.seen == left
    assert [(p.budget, p.found.widths, p.found.costs) for p in again.points] == [
        (p.budget, p.found.widths, p.found.costs) for p in whole.points
    ]
    assert [row["score"] for row in again.rows()] == [row["score"] for row in whole.rows()]


def test_a_sweep_goes_on_with_more_budgets_and_nothing_else(tmp_path: Path) -> None:
    first = sweep(tmp_path, BUDGETS[:2], agent="random")
    log = Log()
    more = sweep(tmp_path, agent="random", callbacks=[log])
    assert log.seen == [0, 1, 2] and len(more.points) == 3
    assert [p.found.widths for p in more.points[:2]] == [p.found.widths for p in first.points]
    with pytest.raises(ArgumentError, match="holds a sweep with episodes=3, got 4; give the same to go on"):
        sweep(tmp_path, agent="random", episodes=4)
    with pytest.raises(ArgumentError, match="holds a sweep with seed=its default, got 3"):
        sweep(tmp_path, agent="random", seed=3)
    with pytest.raises(ArgumentError, match="budgets must begin with those of the sweep in"):
        sweep(tmp_path, BUDGETS[1:], agent="random")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "swept_net.py").write_text(NETWORK)
    words = ["sweep", "-m", "swept_net:net", "-d", "swept_net:data", "-b", "macs=70%,macs=50%+params=60%"]
    done = invoke(app, [*words, "-o", "out", "-n", "2", "--agent", "random", "-q", "--plot", "front.png"])
    assert done.exit_code == 0, done.stderr
    assert "macs=50%,params=60%" in done.stdout and "front.png" in done.stdout
    assert (tmp_path / "front.png").stat().st_size > 0 and (tmp_path / "out" / "sweep.csv").is_file()
    done = invoke(app, ["search", "-m", "swept_net:net", "-d", "swept_net:data"])
    assert done.exit_code == 2 and "give --budget, for example macs=50%, or --max-drop" in done.stderr
