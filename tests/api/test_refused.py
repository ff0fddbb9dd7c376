import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import autoprune
from autoprune.errors import ArgumentError, DataError, PlanError, RunError
from tests.api.problem import network, tensors
from tests.api.runs import EXAMPLE, resume, search, splits


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    search(path)
    return path


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    late = range(int(0.7 * len(data)), len(data))
    data[next(i for i in late if chr(data[i]).isalnum() or path.suffix != ".json")] ^= 0x01
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


@pytest.mark.parametrize("damage", [flip, truncate])
@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["config.json", "spare/config.json"], RunError),
        (["checkpoint/000005.json", "checkpoint/000004.json"], RunError),
        (["pruned/weights.safetensors"], PlanError),
        (["pruned/plan.json"], PlanError),
        (["pruned/manifest.json"], PlanError),
    ],
)
def test_damage_names_the_file_and_overwrites_nothing(
    names: list[str], error: type[Exception], damage: Any, run_dir: Path
) -> None:
    for name in names:
        damage(run_dir / name)
    before = contents(run_dir)
    with pytest.raises(error, match=Path(names[0]).name):
        resume(run_dir, episodes=7)
    assert contents(run_dir) == before


def test_damaged_example_inputs(run_dir: Path) -> None:
    for name in ("example_inputs.safetensors", "spare/example_inputs.safetensors"):
        truncate(run_dir / name)
    with pytest.raises(RunError, match=r"example_inputs\.safetensors.*pass example_inputs to resume"):
        resume(run_dir)
    assert len(resume(run_dir, example_inputs=EXAMPLE).history) == 5


def other_weights() -> Any:
    model: Any = network()
    with torch.no_grad():
        model.conv2.bias[0] += 1e-6
    return model


OTHER = [tensors(96, 5)]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": None}, RunError, "does not record where its model came from; pass model to resume"),
        ({"data": None}, RunError, "does not record where its data came from"),
        ({"model": other_weights()}, RunError, "not the network that the run was started with: its weights"),
        ({"model": torch.nn.Linear(2, 2)}, RunError, "not the network that the run was started with: "),
        ({"data": autoprune.DataSplits(splits().train, OTHER)}, RunError, r"data\.search_val does not give"),
        ({"data": autoprune.DataSplits(OTHER, splits().search_val)}, RunError, r"data\.train does not give"),
        ({"data": [OTHER, OTHER]}, DataError, "must have the loaders"),
        ({"example_inputs": torch.zeros(1, 1, 16, 16)}, RunError, "example_inputs are not those"),
        ({"episodes": 4}, ArgumentError, "episodes must be at least the 5 that the run already has, got 4"),
        ({"episodes": "more"}, ArgumentError, "episodes: .*integer"),
        ({"device": "abacus"}, ArgumentError, "device must be"),
    ],
)
def test_what_does_not_belong_to_the_run_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str, run_dir: Path
) -> None:
    before = contents(run_dir)
    with pytest.raises(error, match=message):
        resume(run_dir, **changes)
    assert contents(run_dir) == before


def test_the_same_directory_is_not_searched_twice(run_dir: Path) -> None:
    before = contents(run_dir)
    with pytest.raises(RunError, match=r"already holds a run; continue it with autoprune\.resume"):
        search(run_dir)
    assert contents(run_dir) == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match="holds no run"):
            resume(path)
