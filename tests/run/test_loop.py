import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import RunError
from autoprune.run.callbacks import Callback
from autoprune.run.checkpoint import Checkpoints
from tests.run.fakes import run, what

TOTAL = 12


def numbers(path: Path) -> list[int]:
    return [t.user_attrs["episode"] for t in run(path, 0)._mirror.study.trials]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return what(run(tmp_path_factory.mktemp("undisturbed"), TOTAL))


@pytest.mark.parametrize("pieces", [[TOTAL], [1, TOTAL], [5, 5, 6, TOTAL], list(range(1, TOTAL + 1))])
def test_pieces_make_the_whole(pieces: list[int], undisturbed: list[Any], tmp_path: Path) -> None:
    for total in pieces:
        got = what(run(tmp_path, total))
        assert got == undisturbed[:total]
    assert numbers(tmp_path) == list(range(TOTAL))


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process, so that it can be killed for real."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def test_twenty_kills_at_random_moments(undisturbed: list[Any], tmp_path: Path) -> None:
    """Every write of a checkpoint or of the study may be the one that is cut off."""
    moments = random.Random(0)
    for _ in range(20):
        child = in_child(lambda: run(tmp_path, TOTAL, pause=0.01))
        time.sleep(moments.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert what(run(tmp_path, TOTAL)) == undisturbed
    assert numbers(tmp_path) == list(range(TOTAL))


def test_the_history_does_not_shrink_when_killed(tmp_path: Path) -> None:
    child = in_child(lambda: run(tmp_path, 1000, pause=0.005))
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    while not list(checkpoints.folder.glob("000008.json")):
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoint = checkpoints.load()
    assert checkpoint is not None and len(checkpoint.history) >= 8


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_damaged_newest_checkpoint_costs_one_episode(
    suffix: str, undisturbed: list[Any], tmp_path: Path
) -> None:
    run(tmp_path, 7)
    newest = tmp_path / "checkpoint" / f"000007.{suffix}"
    newest.write_bytes(newest.read_bytes()[:-9])
    assert len(run(tmp_path, 0).history) == 6
    assert what(run(tmp_path, TOTAL)) == undisturbed
    assert numbers(tmp_path) == list(range(TOTAL))


def test_a_lost_study_is_written_again(undisturbed: list[Any], tmp_path: Path) -> None:
    run(tmp_path, 7)
    (tmp_path / "optuna.journal").unlink()
    assert what(run(tmp_path, 8)) == undisturbed[:8]
    assert numbers(tmp_path) == list(range(8))


def test_a_full_disk_stops_and_resumes(
    undisturbed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.run import checkpoint

    real = checkpoint.write_stored

    def full(path: Path, body: Any) -> None:
        if len(body["history"]) == 6:
            raise OSError(28, "No space left on device")
        real(path, body)

    monkeypatch.setattr(checkpoint, "write_stored", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, TOTAL)
    monkeypatch.undo()
    assert len(run(tmp_path, 0).history) == 5
    assert what(run(tmp_path, TOTAL)) == undisturbed


def test_a_read_only_folder_stops_and_resumes(undisturbed: list[Any], tmp_path: Path) -> None:
    class Turn(Callback):
        """A file where the folder was: not even root can write below it."""

        def on_episode(self, episode: Any, best: Any) -> None:
            if episode.number == 4:
                shutil.move(tmp_path / "checkpoint", tmp_path / "aside")
                (tmp_path / "checkpoint").write_text("")

    with pytest.raises(OSError, match="checkpoint"):
        run(tmp_path, TOTAL, callbacks=(Turn(),))
    (tmp_path / "checkpoint").unlink()
    shutil.move(tmp_path / "aside", tmp_path / "checkpoint")
    assert what(run(tmp_path, TOTAL)) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_loop(number: signal.Signals, undisturbed: list[Any], tmp_path: Path) -> None:
    class Ask(Callback):
        def on_episode(self, episode: Any, best: Any) -> None:
            if episode.number == 3:
                os.kill(os.getpid(), number)

    assert what(run(tmp_path, TOTAL, callbacks=(Ask(),))) == undisturbed[:4]
    assert what(run(tmp_path, TOTAL)) == undisturbed


def test_an_error_of_a_callback_loses_nothing(undisturbed: list[Any], tmp_path: Path) -> None:
    class Fail(Callback):
        def on_episode(self, episode: Any, best: Any) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(tmp_path, TOTAL, callbacks=(Fail(),))
    assert what(run(tmp_path, 0)) == undisturbed[:1]


def test_the_best_is_the_first_of_equals(tmp_path: Path) -> None:
    recorder = run(tmp_path, 5)
    assert recorder.best is not None
    rewards = [e.reward for e in recorder.history]
    assert recorder.best.number == rewards.index(max(rewards))


def test_both_checkpoints_damaged(tmp_path: Path) -> None:
    run(tmp_path, 4)
    for path in (tmp_path / "checkpoint").glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"000004\.safetensors.*000003\.safetensors"):
        run(tmp_path, TOTAL)
