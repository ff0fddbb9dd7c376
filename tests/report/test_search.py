"""What a search leaves behind for its report."""

import html
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import ArgumentError
from autoprune.report.read import read_run
from autoprune.run.directory import RunDirectory
from autoprune.run.result import Measured
from tests.api.runs import resume, search


def shown(row: Any) -> tuple[Any, ...]:
    if isinstance(row, Measured):
        return row.name, dict(row.widths), dict(row.costs), row.evaluation.score, row.evaluation.metrics
    return row.name, row.widths, row.costs, row.score, row.metrics


def test_a_search_records_what_its_report_shows(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    result = search(tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    outcome = directory.read_outcome()
    assert [shown(row) for row in outcome.rows] == [shown(row) for row in result.rows()]
    assert outcome.limits == dict(result.limits) and outcome.best == result.best.number
    assert outcome.images == {"search": 64, "calibration": 80}
    assert outcome.inputs == "shape (1, 1, 8, 8)"
    groups = {group.name: group for group in outcome.groups}
    assert groups["head.weight"].reason and not groups["conv1.weight"].reason
    assert all(0 < group.macs <= 1 and 0 < group.params <= 1 for group in groups.values())
    run = read_run(directory)
    assert [c.score for c in run.history] == [e.evaluation.score for e in result.history]
    assert [c.costs for c in run.history] == [e.costs for e in result.history]
    curve = outcome.curves["conv1.weight"]
    assert curve.widths == tuple(range(1, 9)) and curve.errors[-1] == pytest.approx(0, abs=1e-9)
    assert sorted(curve.errors, reverse=True) == list(curve.errors)
    assert "Pruning report" in directory.report_path.read_text()


def test_a_resumed_search_writes_it_anew(tmp_path: Path) -> None:
    search(tmp_path, episodes=3)
    directory = RunDirectory(tmp_path)
    before = directory.read_outcome()
    resume(tmp_path, episodes=5)
    after = directory.read_outcome()
    assert (before.episodes, after.episodes) == (3, 5)


def test_a_search_without_plotly_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("autoprune.report.page.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        search(tmp_path)
    assert [r.getMessage() for r in caplog.records if "report" in r.getMessage()] == [
        "no report.html was written: the report needs plotly and jinja2: pip install 'autoprune[report]'"
    ]
    directory = RunDirectory(tmp_path)
    assert directory.outcome_path.exists() and directory.pruned_path.exists()
    assert not directory.report_path.exists()


def test_a_result_as_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    result = search(None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArgumentError, match=r"needs pandas: pip install 'autoprune\[pandas\]'"):
        result.to_dataframe()
    monkeypatch.undo()
    pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert len(frame) == len(result.history)
    for (_, row), episode in zip(frame.iterrows(), result.history, strict=True):
        assert row["episode"] == episode.number and row["score"] == episode.evaluation.score
        assert row["macs"] == episode.costs["macs"] and row["kl"] == episode.evaluation.metrics["kl"]
        assert {name: row[f"width:{name}"] for name in episode.widths} == episode.widths


def test_a_result_shows_its_summary() -> None:
    result = search(None)
    assert repr(result) == result.summary()
    assert html.unescape(result._repr_html_()) == f"<pre>{result.summary()}</pre>"
