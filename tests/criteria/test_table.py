"""What `autoprune criteria` prints."""

import inspect

import pytest
from typer.testing import CliRunner

from autoprune.cli import console
from autoprune.cli.app import app
from autoprune.criteria import CRITERIA, WRAPPERS


def printed(width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(console, "WIDE", width)
    monkeypatch.setenv("COLUMNS", str(width))
    result = CliRunner().invoke(app, ["criteria"])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("width", [80, 140])
def test_every_criterion_has_its_marks(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(width, monkeypatch).splitlines()
    assert max(map(len, lines)) <= width
    head = lines[3]
    columns = [head.index(word) for word in ("weights", "gradients", "input data", "units")]
    columns.append(head.rindex("weights"))
    ends = [*columns[1:], 10**6]
    for name, kind in CRITERIA.items():
        row = next(line for line in lines if line.startswith(f" {name} "))
        marks = ["x" in row[a:b] for a, b in zip(columns, ends, strict=True)]
        reads = [need in kind.needs for need in ("weights", "gradients", "data")]
        assert marks == [*reads, True, kind.elementwise], row


@pytest.mark.parametrize("width", [80, 140])
def test_every_criterion_and_wrapper_is_described(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(width, monkeypatch)
    flat = " ".join(text.split())
    for name, kind in {**CRITERIA, **WRAPPERS}.items():
        assert f" {name}" in flat
        first = (inspect.getdoc(kind) or "").partition("\n\n")[0].split()
        assert " ".join(first) in flat and " ".join(kind.source.split()) in flat
