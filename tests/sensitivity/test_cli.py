"""`autoprune sensitivity`, and the options of `autoprune search` that restrict the groups."""

import csv
import inspect
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import autoprune
from autoprune.cli.app import app
from autoprune.cli.sensitivity import sensitivity as command
from tests.cli.conftest import workplace as workplace
from tests.cli.invoke import invoke

USER = ["--model", "user_zoo:net", "--data", "user_zoo:data"]
SMALL = ["--search-images", "32", "--calibration-images", "48", "--fit-images", "32", "--criterion", "l2"]
WORDS = ["sensitivity", *USER, *SMALL, "--ratios", "0.25,0.75"]


def test_help_has_an_example() -> None:
    result = invoke(app, ["sensitivity", "--help"])
    assert result.exit_code == 0
    assert "Example: autoprune sensitivity" in " ".join(result.stdout.split())


def test_the_defaults_are_those_of_the_library() -> None:
    def defaults(function: Any) -> dict[str, Any]:
        return {name: p.default for name, p in inspect.signature(function).parameters.items()}

    library, own = defaults(autoprune.sensitivity), defaults(command)
    shared = library.keys() & own.keys() - {"model", "data", "ratios"}
    assert len(shared) >= 7
    assert {name: own[name] for name in shared} == {name: library[name] for name in shared}
    assert tuple(float(part) for part in own["ratios"].split(",")) == library["ratios"]


def test_shows_a_table_and_writes_the_folder(workplace: Path) -> None:
    result = invoke(app, [*WORDS, "--out", "found"])
    assert result.exit_code == 0, result.stderr
    assert "conv2.weight" in result.stdout
    assert "spearman" in result.stdout
    folder = workplace / "found"
    drawn = {"sensitivity.png"} if find_spec("matplotlib") else set()
    assert {p.name for p in folder.iterdir()} == {
        "points.json",
        "sensitivity.csv",
        "sensitivity.txt",
        *drawn,
    }
    assert drawn or "pip install 'autoprune[plot]'" in result.stdout
    assert (folder / "sensitivity.txt").read_text().strip() in result.stdout
    with open(folder / "sensitivity.csv", newline="") as file:
        assert [r["group"] for r in csv.DictReader(file)] == ["conv1.weight"] * 2 + ["conv2.weight"] * 2
    again = invoke(app, [*WORDS, "--out", "found"])
    assert again.stdout == result.stdout


def test_without_a_folder_nothing_is_written(workplace: Path) -> None:
    before = set(workplace.iterdir())
    result = invoke(app, [*WORDS, "--groups", "conv2*", "--metric", "kl", "-q", "--no-reconstruct"])
    assert result.exit_code == 0, result.stderr
    assert "conv1" not in result.stdout
    assert result.stderr == ""
    assert {p for p in workplace.iterdir() if p.name != "__pycache__"} == before


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ratios", "a,b"], "--ratios must be numbers like 0.25,0.5,0.75, got 'a,b'"),
        (["--ratios", "1.5"], "ratios must be pruning ratios in [0, 1)"),
        (["--metric", "auc"], "metric must be one of accuracy, loss, kl, error, got 'auc'"),
        (["--groups", "convolution*"], "did you mean 'conv1.weight'?"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str) -> None:
    result = invoke(app, [*WORDS, *words, "-q"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_search_leaves_excluded_groups_dense(workplace: Path) -> None:
    words = ["search", *USER, *SMALL, "--agent", "random", "-n", "2", "-b", "macs=60%", "-q", "-o", "run"]
    result = invoke(app, [*words, "--exclude", "conv1*", "--floor-units", "3"])
    assert result.exit_code == 0, result.stderr
    settings = json.loads((workplace / "run" / "config.json").read_text())["body"]
    assert settings["settings"]["exclude"] == ["conv1*"]
    assert settings["groups"] == {"conv2.weight": 12}
