from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoprune.errors import RunError
from autoprune.report.comparison import record_comparison
from autoprune.report.read import read_run
from autoprune.run.checkpoint import Checkpoint
from autoprune.run.directory import RunDirectory
from tests.report.made import SIZES, config, history, make_run


def test_a_run_is_what_was_written(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "r20", count=12))
    assert (run.name, run.later, run.comparison, run.seconds) == ("r20", 0, None, 6.0)
    assert [c.number for c in run.history] == list(range(12))
    assert run.cost == "macs"
    assert [run.dense.name, run.best.name, run.found.name] == ["dense", "best", "found"]
    assert [row.name for row in run.outcome.baselines] == ["uniform", "greedy"]
    best = max(run.history, key=lambda c: c.reward)
    assert dict(zip(SIZES, best.widths, strict=True)) == run.best.widths


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run \(no config\.json\)"):
        read_run(RunDirectory(tmp_path))


@pytest.mark.parametrize("episodes", [0, 3])
def test_a_search_that_has_not_ended(tmp_path: Path, episodes: int) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_config(config(SIZES))
    if episodes:
        directory.save(Checkpoint({"weights": torch.zeros(1)}, history(SIZES, episodes)))
    with pytest.raises(RunError, match=r"has not ended \(no outcome\.json\); end it with `autoprune resume"):
        read_run(directory)


def test_a_damaged_outcome(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    text = directory.outcome_path.read_text()
    directory.outcome_path.write_text(text.replace('"best": ', '"best": 1'))
    with pytest.raises(RunError, match=r"outcome\.json' is damaged or was edited"):
        read_run(directory)


def test_episodes_after_the_end_are_left_out_and_counted(tmp_path: Path) -> None:
    directory = make_run(tmp_path, count=8)
    directory.save(Checkpoint({"weights": torch.zeros(1)}, history(SIZES, 11)))
    run = read_run(directory)
    assert (len(run.history), run.later) == (8, 3)


def rows_of(directory: RunDirectory, score: float | None = None) -> list[Any]:
    rows = [row for row in directory.read_outcome().rows if row.name != "best"]
    return [
        SimpleNamespace(
            name=row.name,
            costs=row.costs,
            score=row.score if score is None else score,
            before=0.8,
            after=None,
            milliseconds=2.5,
        )
        for row in rows
    ]


def test_a_comparison_is_kept_with_the_result_that_it_measured(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    record_comparison(tmp_path, rows_of(directory), 0)
    comparison = read_run(directory).comparison
    assert comparison is not None
    assert [row.name for row in comparison.rows] == ["dense", "uniform", "greedy", "found"]
    assert [row.before for row in comparison.rows] == [0.8] * 4
    record_comparison(tmp_path, rows_of(directory, score=-9.0), 0)
    assert read_run(directory).comparison is None


def test_recording_a_comparison_writes_the_report_anew(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    directory = make_run(tmp_path)
    record_comparison(tmp_path, rows_of(directory), 0)
    text = directory.report_path.read_text()
    assert "test accuracy" in text
    assert (
        "on the test set it gives 80.00% right answers, the dense network 80.00%." in text
        and "On the test set uniform gives 80.00% and greedy gives 80.00%." in text
        and "2.5 ms" in text
    )
