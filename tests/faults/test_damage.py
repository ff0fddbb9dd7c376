"""A file of a run that is cut short or has a wrong bit is noticed, and its last good state used."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import PlanError, RunError
from tests.api.runs import StopAfter, resume, search, what
from tests.faults.jobs import QUICK

SETTINGS = QUICK | {"episodes": 5}
STATE = [
    "config.json",
    "example_inputs.safetensors",
    "spare/config.json",
    "spare/example_inputs.safetensors",
    "checkpoint/000002.json",
    "checkpoint/000002.safetensors",
    "checkpoint/000003.json",
    "checkpoint/000003.safetensors",
    "optuna.journal",
]
RESULT = ["outcome.json", "summary.txt", "report.html", "policy/policy.json", "policy/policy.safetensors"]
PRUNED = ["pruned/manifest.json", "pruned/plan.json", "pruned/weights.safetensors"]
MADE_TWICE = ("config.json", "example_inputs.safetensors")


@pytest.fixture(scope="module")
def undisturbed() -> list[Any]:
    return what(search(None, **SETTINGS))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    search(path, callbacks=[StopAfter(3)], **SETTINGS)
    return path


@pytest.fixture
def run_dir(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def flip(data: bytes, seed: int) -> bytes:
    """One bit of a place that is not between the lines."""
    places = random.Random(seed)
    while chr(data[place := places.randrange(len(data))]).isspace():
        pass
    changed = bytearray(data)
    changed[place] ^= 1 << places.randrange(7)
    return bytes(changed)


DAMAGE: dict[str, Any] = {
    "cut": lambda data: data[: len(data) // 2],
    "one bit": lambda data: flip(data, 1),
}


def test_the_tables_name_every_file_of_a_run(run_dir: Path) -> None:
    files = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file()}
    assert files - {"lock"} == {*STATE, *RESULT, *PRUNED}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", STATE)
def test_damaged_state_costs_no_episode(
    name: str, damage: str, run_dir: Path, undisturbed: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = run_dir / name
    whole = path.read_bytes()
    path.write_bytes(damaged := DAMAGE[damage](whole))
    result = resume(run_dir)
    assert not result.stopped and what(result) == undisturbed
    assert sorted(t.user_attrs["episode"] for t in result.study.trials) == list(range(5))
    assert [t.value for t in result.study.trials] == [e.reward for e in result.history]
    if name in MADE_TWICE:
        assert f"{path}' is damaged" in caplog.text
        assert path.read_bytes() == whole
        assert [aside.read_bytes() for aside in run_dir.glob(f"{name}.damaged-*")] == [damaged]
    if name.startswith("spare/"):
        assert path.read_bytes() == whole
    if name.startswith("checkpoint/000003"):
        assert str(path) in caplog.text and "trying the checkpoint before it" in caplog.text


@pytest.mark.parametrize("name", RESULT)
def test_a_damaged_result_is_written_anew(name: str, run_dir: Path, undisturbed: list[Any]) -> None:
    (run_dir / name).write_bytes(flip((run_dir / name).read_bytes(), 1))
    assert what(resume(run_dir)) == undisturbed


@pytest.mark.parametrize("name", PRUNED)
def test_a_damaged_network_is_named_and_made_again_once_it_is_out_of_the_way(
    name: str, run_dir: Path, undisturbed: list[Any]
) -> None:
    (run_dir / name).write_bytes(DAMAGE["one bit"]((run_dir / name).read_bytes()))
    with pytest.raises(PlanError, match="pruned"):
        resume(run_dir)
    (run_dir / "pruned").rename(run_dir / "pruned-damaged")
    assert what(resume(run_dir)) == undisturbed


def test_state_that_is_damaged_twice_is_refused_and_kept(run_dir: Path) -> None:
    for name in ("config.json", "spare/config.json"):
        (run_dir / name).write_bytes(DAMAGE["one bit"]((run_dir / name).read_bytes()))
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"config\.json' is damaged"):
        resume(run_dir)
    assert {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("seed", range(5))
def test_a_study_with_another_digit_is_written_anew(seed: int, run_dir: Path, undisturbed: list[Any]) -> None:
    """The journal stays valid JSON; it is compared with the checkpoint."""
    path = run_dir / "optuna.journal"
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"values"' in line or '"value"' in line)
    digits = [i for i, sign in enumerate(lines[at]) if sign in "123456789"]
    place = random.Random(seed).choice(digits)
    lines[at] = lines[at][:place] + str(int(lines[at][place]) - 1) + lines[at][place + 1 :]
    path.write_text("\n".join(lines) + "\n")
    result = resume(run_dir)
    assert what(result) == undisturbed
    for trial, episode in zip(result.study.trials, result.history, strict=True):
        assert trial.value == episode.reward and trial.user_attrs["score"] == episode.evaluation.score
        assert trial.user_attrs["widths"] == episode.widths and trial.user_attrs["costs"] == episode.costs
