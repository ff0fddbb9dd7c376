"""The demo in a short form: it trains, searches, compares, and its own instructions work."""

import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.cli.app import app
from autoprune.demo import DigitsNet, splits, trained
from autoprune.demo.folder import fresh_folder
from autoprune.errors import RunError
from tests.cli.invoke import invoke

pytest.importorskip("sklearn", reason="the demo needs scikit-learn (extra `demo`)")


def test_the_digits_are_split_without_overlap_and_the_same_each_time() -> None:
    first, second = ([list(part) for part in (s.train, s.search_val, s.test)] for s in (splits(), splits()))  # type: ignore[arg-type]
    parts = [torch.cat([images for images, _ in part]) for part in first]
    assert [len(part) for part in parts] == [900, 400, 497]
    assert len(torch.unique(torch.cat(parts).flatten(1), dim=0)) == 1797
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, other, strict=True))


def test_training_reaches_what_the_demo_promises_and_leaves_global_randomness_alone() -> None:
    data = splits()
    state = torch.random.get_rng_state()
    network = trained(data)
    assert torch.equal(state, torch.random.get_rng_state())
    assert autoprune.accuracy(network, data.test) > 0.97  # type: ignore[arg-type]
    assert not network.training


def test_the_demo_replaces_an_earlier_one_and_its_own_instructions_load_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (fresh_folder(Path("runs/demo")) / "search").mkdir()
    result = invoke(app, ["demo", "--episodes", "2", "--quiet"])
    assert result.exit_code == 0, result.stderr
    rows = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│")]
    assert rows[:4] == ["dense", "uniform", "greedy", "found"]
    after = result.stdout.partition("in Python:\n")[2].splitlines()
    code = takewhile(lambda line: not line or line.startswith("    "), after)
    snippet = "\n".join(line[4:] for line in code)
    assert "autoprune.load" in snippet
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = next(line for line in result.stdout.splitlines() if line.startswith("│ found"))
    assert f"{100 * float(done.stdout):.2f}%" in found
    for name in ("dense.safetensors", "search/config.json", "found/plan.json", "found/weights.safetensors"):
        assert (tmp_path / "runs/demo" / name).is_file()


def test_the_demo_never_replaces_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    keep = tmp_path / "thesis.txt"
    keep.write_text("years of work")
    with pytest.raises(RunError, match="must be new or an earlier demo's"):
        fresh_folder(tmp_path)
    assert keep.read_text() == "years of work"
    own = fresh_folder(tmp_path / "own")
    (own / "old").touch()
    assert [p.name for p in fresh_folder(own).iterdir()] == [".autoprune-demo"]


def test_the_network_can_be_pruned_everywhere_but_at_its_output() -> None:
    graph = autoprune.trace(DigitsNet(), torch.zeros(1, 1, 8, 8))
    assert [g.name for g in graph.groups if not g.prunable] == ["linear.weight"]
