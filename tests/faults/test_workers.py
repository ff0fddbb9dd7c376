"""Workers that are killed cost no episode, and nobody outlives a search."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.api.problem import BUDGET
from tests.api.runs import SOURCES
from tests.faults import jobs
from tests.faults.processes import Process, descendants, started, until
from tests.faults.test_kills import without_faults

EPISODES = 14
SETTINGS = {"episodes": EPISODES, "workers": 2}
PACE = 0.1
"""Seconds that a search rests behind an episode where it must not end before a signal reaches it."""


def workers_of(process: Process) -> list[int]:
    return [pid for pid in process.family() if pid != process.pid]


def kill_one(process: Process, choose: random.Random) -> None:
    """Kill a living worker."""
    killed = 0
    while not killed:
        until(lambda: bool(workers_of(process)))
        with contextlib.suppress(IndexError, ProcessLookupError):  # it was gone meanwhile
            victim = choose.choice(workers_of(process))
            os.kill(victim, signal.SIGKILL)
            killed = victim
    until(lambda: killed not in process.family())


def test_killed_workers_cost_no_episode(tmp_path: Path) -> None:
    choose, settings = random.Random(5), SETTINGS | {"episodes": 30}
    with started(jobs.telling, tmp_path / "run", settings, None, PACE) as process:
        for number in (0, 2, 5, 9):
            process.hear(number)
            time.sleep(choose.uniform(0, 0.1))
            kill_one(process, choose)
        process.hear("done")
        episodes = process.heard()
        assert process.wait() == 0
        assert not process.family()
    assert [episode[0] for episode in episodes] == list(range(30))
    assert episodes == without_faults(settings)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_nobody_outlives_a_search(sign: signal.Signals | None, tmp_path: Path) -> None:
    with started(jobs.telling, tmp_path / "run", SETTINGS, None, PACE) as process:
        process.hear(3)
        assert len(workers_of(process)) == 2
        if sign is not None:
            process.send(sign)
        assert process.wait() == (-sign if sign is signal.SIGKILL else 0)
        until(lambda: not process.family(), 30)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_finishes_as_ctrl_c_does(sign: signal.Signals, workers: int, tmp_path: Path) -> None:
    """Also where the whole group gets the signal, as from a terminal or a scheduler."""
    settings = {"episodes": EPISODES, "workers": workers}
    with started(jobs.telling, tmp_path / "run", settings, None, PACE) as process:
        process.hear(4)
        os.killpg(process.pid, sign)
        process.hear("stopped")
        some = process.heard()
        assert process.wait() == 0
    assert (tmp_path / "run" / "pruned" / "manifest.json").is_file()
    assert 5 <= len(some) < EPISODES
    with started(jobs.telling, tmp_path / "run", settings) as process:
        process.hear("done")
        episodes = process.heard()
    assert episodes[: len(some)] == some
    assert episodes == without_faults(settings)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_episode_leaves_nothing(sign: signal.Signals, tmp_path: Path) -> None:
    with started(jobs.telling, tmp_path / "run", SETTINGS) as process:
        process.hear("trace")
        process.send(sign)
        assert process.wait() == 1, "KeyboardInterrupt, not death by the signal"
    assert not (tmp_path / "run").exists()


def test_the_command_line_ends_on_sigterm_with_a_result_and_leaves_nobody(tmp_path: Path, root: Path) -> None:
    run_dir = tmp_path / "run"
    given = ["--model", SOURCES["model_source"], "--data", "tests.faults.jobs:splits", "-b", BUDGET]
    quick = ["--calibration-images", "48", "--fit-images", "24", "--agent", "random", "-n", "99999"]
    words = [
        "search",
        *given,
        *quick,
        "--input-shape",
        "1,1,8,8",
        "--workers",
        "2",
        "--run-dir",
        str(run_dir),
    ]
    words += ["--progress", "none"]
    with subprocess.Popen(
        [sys.executable, "-m", "autoprune", *words], cwd=root, stderr=subprocess.PIPE, text=True
    ) as command:
        until(lambda: len(list(run_dir.glob("checkpoint/*.json"))) == 2)
        everyone = descendants(command.pid)
        assert len(everyone) >= 2
        command.terminate()
        _, said = command.communicate(timeout=60)
    assert command.returncode == 0, said
    assert "SIGTERM" in said
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone), 30)
    assert (run_dir / "pruned" / "manifest.json").is_file()
