import json
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage

from autoprune.errors import RunError
from autoprune.run.study import JOURNAL_NAME, StudyMirror, hidden, open_storage

SIZES = {"a.weight": 8, "b.weight": 4}


@dataclass
class FakeEvaluation:
    score: float
    metrics: dict[str, float] = field(default_factory=lambda: {"kl": 0.5, "accuracy": 90.0})


@dataclass
class FakeEpisode:
    number: int
    reward: float = -0.4
    seconds: float = 2.0

    @property
    def widths(self) -> dict[str, int]:
        return {"a.weight": 1 + self.number % 8, "b.weight": 4}

    @property
    def costs(self) -> dict[str, float]:
        return {"macs": 100.0 + self.number}

    @property
    def evaluation(self) -> FakeEvaluation:
        return FakeEvaluation(self.reward - 1)


def history(count: int) -> list[Any]:
    return [FakeEpisode(n, reward=-1 / (1 + n)) for n in range(count)]


def open_mirror(run_dir: Path, fresh: bool = False) -> StudyMirror:
    return StudyMirror(open_storage(None, run_dir), "autoprune", SIZES, fresh=fresh)


def test_a_trial_holds_the_episode(tmp_path: Path) -> None:
    open_mirror(tmp_path, fresh=True).sync(history(3))
    trials = open_mirror(tmp_path).study.trials
    assert [t.user_attrs["episode"] for t in trials] == [0, 1, 2]
    trial = trials[2]
    assert trial.value == -1 / 3 and trial.state.name == "COMPLETE"
    assert trial.params == {"a.weight": 3 / 8, "b.weight": 1.0}
    assert trial.user_attrs["widths"] == {"a.weight": 3, "b.weight": 4}
    assert trial.user_attrs["costs"] == {"macs": 102.0}
    assert trial.user_attrs["metrics"] == {"kl": 0.5, "accuracy": 90.0}
    assert trial.user_attrs["score"] == -1 / 3 - 1
    assert trial.duration is not None and trial.duration.total_seconds() == pytest.approx(2.0)


def test_episodes_are_never_doubled_and_gaps_are_filled(tmp_path: Path) -> None:
    open_mirror(tmp_path, fresh=True).sync(history(2))
    mirror = open_mirror(tmp_path)
    for count in (2, 4, 5, 5):
        mirror.sync(history(count))
    assert [t.user_attrs["episode"] for t in open_mirror(tmp_path).study.trials] == list(range(5))


def test_other_trials_in_the_study_are_left_alone(tmp_path: Path) -> None:
    mirror = open_mirror(tmp_path, fresh=True)
    mirror.study.add_trial(optuna.trial.create_trial(value=1.0))
    mirror.sync(history(2))
    open_mirror(tmp_path).sync(history(2))
    assert len(open_mirror(tmp_path).study.trials) == 3


def test_a_reward_that_is_not_finite_is_a_failed_trial(tmp_path: Path) -> None:
    mirror = open_mirror(tmp_path, fresh=True)
    mirror.sync([FakeEpisode(0, reward=float("nan")), FakeEpisode(1, reward=-2.0)])  # type: ignore[list-item]
    assert [t.state.name for t in mirror.study.trials] == ["FAIL", "COMPLETE"]
    assert mirror.study.best_value == -2.0


def test_a_torn_last_line_is_repaired(tmp_path: Path) -> None:
    open_mirror(tmp_path, fresh=True).sync(history(3))
    path = tmp_path / JOURNAL_NAME
    whole = path.read_bytes()
    for cut in (1, 10, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        open_mirror(tmp_path).sync(history(3))
        open_mirror(tmp_path).sync(history(4))
        assert [t.user_attrs["episode"] for t in open_mirror(tmp_path).study.trials] == [0, 1, 2, 3]
        assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_damaged_journal_is_kept_aside_and_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_mirror(tmp_path, fresh=True).sync(history(3))
    path = tmp_path / JOURNAL_NAME
    damaged = path.read_bytes().replace(b"{", b"#", 1)
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        open_mirror(tmp_path).sync(history(3))
    assert "was damaged" in caplog.text
    assert [t.user_attrs["episode"] for t in open_mirror(tmp_path).study.trials] == [0, 1, 2]
    aside = list(tmp_path.glob(f"{JOURNAL_NAME}.damaged-*"))
    assert [p.read_bytes() for p in aside] == [damaged]


def test_a_stale_lock_of_a_killed_process_does_not_stop_us(tmp_path: Path) -> None:
    open_mirror(tmp_path, fresh=True).sync(history(1))
    path = tmp_path / JOURNAL_NAME
    Path(f"{path}.lock").symlink_to(path)
    open_mirror(tmp_path).sync(history(2))
    assert len(open_mirror(tmp_path).study.trials) == 2


def test_a_relative_run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    open_mirror(Path("runs"), fresh=True).sync(history(1))
    assert len(open_mirror(tmp_path / "runs").study.trials) == 1


def test_any_storage_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    StudyMirror(open_storage(url, tmp_path), "one", SIZES, fresh=True).sync(history(2))
    StudyMirror(open_storage(url, None), "one", SIZES, fresh=False).sync(history(3))
    storage = open_storage(url, None)
    assert isinstance(storage, RDBStorage | optuna.storages._CachedStorage)
    study = optuna.load_study(storage=storage, study_name="one")
    assert [t.user_attrs["episode"] for t in study.trials] == [0, 1, 2]
    with pytest.raises(RunError, match="already has a study 'one'; choose another study_name"):
        StudyMirror(storage, "one", SIZES, fresh=True)


def test_without_a_folder_the_study_lives_in_memory() -> None:
    storage = open_storage(None, None)
    assert isinstance(storage, InMemoryStorage)


def test_a_storage_that_cannot_be_opened() -> None:
    with pytest.raises(RunError, match=r"storage 'nonsense://user:\*\*\*@host/db' cannot be opened"):
        open_storage("nonsense://user:secret@host/db", None)


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        (None, None),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("://me:secret@host", "://..."),
        (InMemoryStorage(), "InMemoryStorage"),
    ],
)
def test_passwords_are_not_written_down(storage: Any, shown: str | None) -> None:
    assert hidden(storage) == shown


def test_an_unreachable_storage_is_caught_up_later(caplog: pytest.LogCaptureFixture) -> None:
    mirror = StudyMirror(InMemoryStorage(), "s", SIZES, fresh=True)
    real = mirror.study.add_trial

    def broken(trial: Any) -> None:
        raise ConnectionError("the server is gone")

    mirror.study.add_trial = broken  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        mirror.sync(history(1))
        mirror.sync(history(2))
    assert caplog.text.count("the server is gone") == 1
    mirror.study.add_trial = real  # type: ignore[method-assign]
    mirror.sync(history(3))
    assert [t.user_attrs["episode"] for t in mirror.study.trials] == [0, 1, 2]


def test_optunas_own_tools_work_and_nothing_is_printed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, 'tests/run')\n"
        "from pathlib import Path\n"
        "from test_study import open_mirror, history\n"
        f"open_mirror(Path({str(tmp_path)!r}), fresh=True).sync(history(6))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    study = open_mirror(tmp_path).study
    assert study.best_trial.user_attrs["episode"] == 5
    assert set(
        optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    )
