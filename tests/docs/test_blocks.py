"""Every code block of README and documentation runs; the blocks of a page share their names."""

import importlib.util
import json
import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import autoprune
from autoprune.cli.app import app
from autoprune.graph import registry
from tests.cli.invoke import invoke
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands
from tests.docs.problem import env_parts, namespace, quick, write_zoo
from tests.report.made import make_run

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
NEEDS = {
    "docs/tutorial.md": ("onnx", "onnxruntime", "plotly"),
    "docs/how-to/watch.md": ("tensorboard", "pandas"),
}
LANGUAGES = {"python", "sh", "text", "toml", "json"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of a reader."""
    known = set(sys.modules)
    write_zoo(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))  # what a page registers goes with it
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write_files(found: list[Block], folder: Path) -> None:
    for block in found:
        if block.title:
            (folder / block.title).write_text(block.text)


def test_all_blocks_are_of_a_known_kind() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.language in LANGUAGES, f"{page}:{block.line}"
            if block.language == "toml":
                tomllib.loads(block.text)
            if block.language == "json":
                assert all("event" in json.loads(line) for line in block.text.splitlines())


@pytest.mark.parametrize("name", [n for n in NAMES if any(b.language == "python" for b in blocks(ROOT / n))])
def test_python(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS.get(name, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    for function in ("search", "resume", "sweep"):
        monkeypatch.setattr(autoprune, function, quick(getattr(autoprune, function)))
    shared = namespace() | (env_parts() if name == "README.md" else {})
    found = [block for block in blocks(ROOT / name) if block.language == "python" and not block.skipped]
    write_files(found, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; autoprune's own tests fail on them
        for block in found:
            if not block.title:
                exec(compile("\n" * block.line + block.text, ROOT / name, "exec"), shared)


def parse(line: str) -> None:
    """Check the words of a command line against the program, without running it."""
    words = shlex.split(re.split(r" 2?> ", line, maxsplit=1)[0])[1:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands"):
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(words) <= known, line
    else:
        command.make_context(command.name, words)


@pytest.mark.parametrize("name", [n for n in NAMES if commands(ROOT / n)])
def test_command_lines_are_understood(name: str, folder: Path) -> None:
    write_files(blocks(ROOT / name), folder)
    make_run(folder / "runs" / "r20")
    for line in commands(ROOT / name):
        parse(line)


def test_the_tutorial_on_the_command_line(folder: Path) -> None:
    for package in NEEDS["docs/tutorial.md"]:
        pytest.importorskip(package)
    page = ROOT / "docs" / "tutorial.md"
    write_files(blocks(page), folder)
    few = " --agent random --search-images 48 --calibration-images 64 --fit-images 32 --episodes 2"
    lines = [line + few * line.startswith("autoprune search") for line in commands(page)]
    assert [line.split()[1] for line in lines] == ["inspect", "search", "report", "export"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for line in lines:
            result = invoke(app, shlex.split(line)[1:])
            assert result.exit_code == 0, result.stderr
    assert (folder / "runs" / "cli" / "pruned.onnx").is_file()


def test_the_table_of_the_tutorial_is_what_a_reader_sees(folder: Path) -> None:
    import torch

    found = blocks(ROOT / "docs" / "tutorial.md")
    write_files(found, folder)
    shared: dict[str, Any] = {"__name__": "block"}
    exec(compile((folder / "mynet.py").read_text(), "mynet.py", "exec"), shared)
    shown = next(block.text for block in found if block.language == "text")
    assert shown.strip() == repr(autoprune.trace(shared["Net"](), torch.zeros(1, 1, 12, 12)))
