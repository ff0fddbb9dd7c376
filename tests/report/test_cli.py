from pathlib import Path

import pytest

from autoprune.cli.app import app
from tests.cli.invoke import invoke
from tests.report.made import SIZES, config, make_run

pytest.importorskip("plotly")


def test_help_has_an_example() -> None:
    result = invoke(app, ["report", "--help"])
    assert result.exit_code == 0
    assert "Example: autoprune report" in " ".join(result.stdout.split())


def test_the_file_goes_into_the_run_or_elsewhere(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run")
    result = invoke(app, ["report", str(directory.path)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{directory.report_path}\n" and directory.report_path.is_file()
    other = tmp_path / "new" / "page.html"
    assert invoke(app, ["report", str(directory.path), "--out", str(other)]).exit_code == 0
    assert other.read_bytes() == directory.report_path.read_bytes()


def test_errors_are_one_line(tmp_path: Path) -> None:
    result = invoke(app, ["report", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: RUN '{tmp_path}' holds no run")
    directory = make_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    result = invoke(app, ["report", str(directory.path), "--out", str(tmp_path / "file" / "page.html")])
    assert result.exit_code == 2 and "cannot write" in result.stderr and "--out" in result.stderr
    directory.outcome_path.unlink()
    directory.write_config(config(SIZES))
    assert "autoprune resume" in invoke(app, ["report", str(directory.path)]).stderr
