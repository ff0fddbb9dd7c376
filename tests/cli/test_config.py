"""Options from a file: every command, every type, what wins, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

import autoprune
from autoprune.cli.app import app
from autoprune.cli.guard import GuardedGroup
from autoprune.run.directory import RunDirectory
from tests.cli.invoke import invoke

SMALL = """
model = "user_zoo:net"
data = "user_zoo:data"
budget = "macs=50%"
episodes = 3
agent = "random"
search-images = 32
calibration_images = 48
fit-images = 32
"""


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [leaf for name, one in command.commands.items() for leaf in leaves(one, (*path, name))]


LEAVES = leaves(typer.main.get_command(app))


def parsed(words: list[str], file: Path, tmp: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `search` gets to see."""
    group: Any = typer.main.get_command(app)
    command = group.commands["search"]
    return dict(command.make_context("search", [*words, "--config", str(file)]).params)


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_with_options_has_it(path: tuple[str, ...], command: Any) -> None:
    options = [name for p in command.params for name in p.opts if name.startswith("--")]
    assert ("--config" in options) == bool(set(options) - {"--config"})


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_type_of_every_option_is_known(path: tuple[str, ...], command: Any, tmp_path: Path) -> None:
    """A value of no type at all is refused, and so every option has a type that a file can hold."""
    for parameter in command.params:
        if parameter.name == "config":
            continue
        name = max(parameter.opts, key=len).lstrip("-")
        file = tmp_path / "a.toml"
        file.write_text(f"{name} = 1979-05-27\n")
        result = invoke(app, [*path, "--config", str(file)])
        assert result.exit_code == 2
        assert f"'{name}' must be" in result.stderr, result.stderr


def test_values_of_all_types(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        'model = "a:b"\ndata = "c:d"\nbudget = "macs=50%"\nlower = 1\nheads = false\ninexact = true\n'
        'exclude = ["x", "y"]\ninclude = "z"\nrun-dir = "runs/x"\nprogress = "json"\n'
        '"max-drop" = 0.5\nround_to = 8\n'
    )
    found = parsed([], file)
    expected = {
        "model": "a:b", "budget": "macs=50%", "lower": 1.0, "heads": False, "inexact": True,
        "exclude_groups": ["x", "y"], "include_groups": ["z"], "run_dir": Path("runs/x"), "progress": "json",
        "max_drop": 0.5, "seed": 0, "round_to": "8",
    }  # fmt: skip
    assert {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}.items() >= (
        expected.items()
    )


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(SMALL + 'exclude = ["x"]\nheads = false\n')
    found = parsed(["--episodes", "7", "--exclude", "z", "--heads"], file)
    assert (found["episodes"], list(found["exclude_groups"]), found["heads"]) == (7, ["z"], True)
    assert found["agent"] == "random"


def test_toml_and_yaml_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "a.toml").write_text(SMALL + 'exclude = ["x", "y"]\n')
    lines = SMALL.replace(" =", ":") + "exclude: [x, y]\n"
    (tmp_path / "a.yaml").write_text(lines)
    assert parsed([], tmp_path / "a.toml") == parsed([], tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("a.toml", "episods = 3", ["`search` has no option 'episods'", "did you mean 'episodes'?"]),
        ("a.toml", "include_groups = 'x'", ["has no option 'include_groups'", "include"]),
        ("a.toml", "[search]\nseed = 3", ["has no option 'search'"]),
        ("a.toml", "config = 'b.toml'", ["has no option 'config'"]),
        ("a.toml", "episodes = 'many'", ["'episodes' must be a whole number, got 'many'"]),
        ("a.toml", "episodes = 2.5", ["'episodes' must be a whole number, got 2.5"]),
        ("a.toml", "episodes = true", ["'episodes' must be a whole number, got True"]),
        ("a.toml", "lower = 'x'", ["'lower' must be a number"]),
        ("a.toml", "heads = 'no'", ["'heads' must be true or false"]),
        ("a.toml", "budget = true", ["'budget' must be a text, got True"]),
        ("a.toml", "exclude = [1]", ["'exclude' must be a list of texts"]),
        ("a.toml", "progress = 'loud'", ["--progress", "loud"]),
        ("a.toml", "finetune-epochs = -1", ["--finetune-epochs"]),
        ("a.toml", "episodes = ", ["a.toml is not TOML"]),
        ("a.yaml", "a: [", ["a.yaml is not YAML"]),
        ("a.yaml", "- a", ["`option: value`"]),
        ("a.ini", "a=1", [".toml, .yaml"]),
        ("a.json", "{}", ["config.json"]),
        ("config.json", "{}", ["damaged"]),
        (None, "", ["missing.toml", "cannot be read"]),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(
    name: str | None, text: str, parts: list[str], tmp_path: Path
) -> None:
    if name == "a.yaml":
        pytest.importorskip("yaml")
    file = tmp_path / (name or "missing.toml")
    if name:
        file.write_text(text)
    result = invoke(app, ["search", "-m", "a:b", "-d", "a:b", "--config", str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert len([line for line in result.stderr.splitlines() if line]) == 1
    for part in parts:
        assert part in result.stderr


def test_without_a_yaml_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.yaml").write_text("seed: 1")
    result = invoke(app, ["search", "--config", str(tmp_path / "a.yaml")])
    assert result.exit_code == 2 and "pip install 'autoprune[yaml]'" in result.stderr


def test_an_empty_file_is_no_option(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("# nothing\n")
    assert parsed(["-m", "a:b", "-d", "a:b"], tmp_path / "a.toml")["model"] == "a:b"


def test_groups_of_commands_have_it_too(tmp_path: Path) -> None:
    inner = typer.Typer()
    seen: list[int] = []

    @inner.command("go")
    def go(count: int = 1) -> None:
        """Go."""
        seen.append(count)

    @inner.command("stay")
    def stay() -> None:
        """Stay."""

    outer = typer.Typer(cls=GuardedGroup)
    outer.add_typer(inner, name="inner")
    (tmp_path / "a.toml").write_text("count = 5")
    result = invoke(outer, ["inner", "go", "--config", str(tmp_path / "a.toml")])
    assert (result.exit_code, seen) == (0, [5]), result.stderr


def test_a_run_is_made_again_from_its_own_config(workplace: Path) -> None:
    (workplace / "a.toml").write_text(SMALL)
    words = ["search", "--config", "a.toml", "--progress", "none"]
    first = invoke(app, [*words, "-o", "first", "--seed", "5", "--input-shape", "1,1,6,6", "--json"])
    assert first.exit_code == 0, first.stderr
    again = invoke(app, ["search", "--config", "first/config.json", "-o", "again", "-q", "--json"])
    assert again.exit_code == 0, again.stderr
    third = invoke(app, ["search", "--config", "first", "-o", "third", "--seed", "6", "-q", "--json"])
    assert third.exit_code == 0, third.stderr
    results = [json.loads(run.stdout) for run in (first, again, third)]
    for made in results:
        for network in made["networks"]:
            assert network.pop("milliseconds") > 0
    assert results[0]["networks"] == results[1]["networks"]
    assert results[0]["found"] == results[1]["found"] != results[2]["found"]
    records = [RunDirectory(Path(name)).read_config() for name in ("first", "again")]
    assert records[0].settings == records[1].settings and records[0].model == records[1].model
    refused = invoke(app, ["sweep", "--config", "first/config.json"])
    assert refused.exit_code == 2 and "belongs to `search`" in refused.stderr
    assert autoprune.Plan.load("first/pruned/plan.json") == autoprune.Plan.load("again/pruned/plan.json")
