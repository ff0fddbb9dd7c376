"""The command: what it writes and shows, and that it resumes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file

import autoprune
from autoprune.cli.guard import GuardedGroup
from autoprune.cli.prune import prune
from autoprune.masks import Masks
from autoprune.pipelines import PIPELINES
from tests.cli.invoke import invoke
from tests.pipelines.problem import net

ZOO = """
from autoprune import DataSplits
from tests.pipelines.problem import batches, data, net


def tested():
    return DataSplits(batches(4, 1), batches(2, 2), batches(2, 3))
"""

app = typer.Typer(cls=GuardedGroup)
app.command()(prune)


@app.command()
def other() -> None:
    """Makes `app` a group."""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "user_prune_zoo.py").write_text(ZOO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("user_prune_zoo", None)


def command(*words: str) -> Any:
    common = [
        "prune",
        "-m",
        "user_prune_zoo:net",
        "-d",
        "user_prune_zoo:tested",
        "--images",
        "32",
        "-o",
        "run",
    ]
    return invoke(app, [*common, *words])


def test_masks(workplace: Path) -> None:
    words = ["-s", "0.5", "--rounds", "2", "--epochs", "1", "--distill", "0.5"]
    done = command(*words)
    assert done.exit_code == 0, done.stderr
    assert (
        "before training" in done.stdout and "compression" in done.stdout and "Test accuracy" in done.stdout
    )
    masks = Masks.load("run/masks.safetensors")
    assert masks.sparsity == 0.5
    model = net()
    model.load_state_dict(load_file("run/model.safetensors"))
    assert all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())
    assert len(json.loads(Path("run/history.json").read_text())) == 2
    refused = command(*words)
    assert refused.exit_code == 2 and "--resume" in refused.stderr
    again = command(*words, "--resume", "--quiet")
    assert again.exit_code == 0 and again.stdout == done.stdout and again.stderr == ""


COMMANDS = {
    "iterative_magnitude": "-s 0.5 --rounds 1 --epochs 1 --granularity kernel --scope global",
    "lottery_ticket": "-s 0.5 --rounds 1 --epochs 2 --rewind-epoch 1 --control random",
    "optimal_brain": "-s 0.5 --rounds 1 --variant damage --criterion fisher",
    "molchanov": "-b macs=80% --criterion l1 --share 0.3 --epochs 1",
    "gradual": "-s 0.5 --epochs 1 --schedule one_cycle",
    "sparse_training": "-b macs=70% --penalty l1 --strength 0.001 --epochs 1 --finetune-epochs 1",
    "at_init": "-s 0.5 --method snip --epochs 1",
}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_runs_and_goes_on(name: str, workplace: Path) -> None:
    words = ["-p", name, *COMMANDS[name].split()]
    done = command(*words)
    assert done.exit_code == 0, done.stderr
    assert "done" in done.stderr, "the progress bar's last line"
    assert name in done.stdout and "total" in done.stdout
    assert list(Path("run/checkpoint").glob("*.safetensors"))
    for result in Path("run").glob("*.safetensors"):
        result.unlink()
    again = command(*words, "--resume", "--quiet")
    assert again.exit_code == 0 and again.stdout == done.stdout
    assert Path("run/pruned" if "-b" in words else "run/model.safetensors").exists()


def test_channels(workplace: Path) -> None:
    done = command(
        "-p", "molchanov", "-b", "macs=60%", "--criterion", "l1", "--share", "0.2", "--epochs", "1"
    )
    assert done.exit_code == 0, done.stderr
    small = autoprune.load("run/pruned", net())
    inputs = torch.zeros(1, 1, 6, 6)
    assert autoprune.trace(small, inputs).macs() <= 0.6 * autoprune.trace(net(), inputs).macs()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "molchanovs", "-b", "macs=60%"], "did you mean 'molchanov'"),
        (["-p", "molchanov", "-s", "0.5"], "--sparsity does not belong to the pipeline 'molchanov'"),
        (["-p", "gradual"], "'gradual' needs --sparsity"),
        (["-s", "0.5", "--lr", "0"], "--lr must be above 0"),
        (["-s", "0.5", "--criterion", "l11"], "did you mean 'l1'"),
    ],
)
def test_bad_options(words: list[str], message: str, workplace: Path) -> None:
    done = command(*words)
    assert done.exit_code == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not Path("run").exists()
