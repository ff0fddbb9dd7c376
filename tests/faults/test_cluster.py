"""A search on a real Ray cluster whose actors, and whose driver, are killed."""

import contextlib
import importlib.util
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults import jobs
from tests.faults.processes import Process, descendants, started, until
from tests.faults.test_kills import without_faults

EPISODES = 24
PACE = 0.4
"""Seconds that the driver rests behind an episode, so that it does not end before its actors are killed."""

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def actors_of(process: Process) -> dict[int, bool]:
    """The living processes of its actors, and whether they evaluate a candidate now."""
    found = {}
    for pid in descendants(process.pid):
        with contextlib.suppress(OSError):
            title = Path(f"/proc/{pid}/cmdline").read_text()
            if title.startswith("ray::_Evaluator"):
                found[pid] = "evaluate" in title
    return found


def kill_one(process: Process, choose: random.Random) -> None:
    """Kill an actor that evaluates, or any if none is seen to within a random part of a second."""
    until(lambda: len(actors_of(process)) == 2)
    end = time.monotonic() + choose.random()
    while not any((actors := actors_of(process)).values()) and time.monotonic() < end:
        pass
    victim = max(actors, key=lambda pid: actors[pid])
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in actors_of(process))


def test_killed_actors_and_a_killed_driver_cost_no_episode(tmp_path: Path) -> None:
    choose, path = random.Random(2), tmp_path / "run"
    settings = {"episodes": EPISODES, "workers": 2}
    with started(jobs.telling, path, settings | {"ray": "local"}, session=False) as process:
        process.hear(3, 150)
        actors = actors_of(process)  # Ray's own agents notice a lost head only after a minute
        assert len(actors) == 2
        process.send(signal.SIGKILL)
        until(lambda: not any(living(pid) for pid in actors))
    with started(jobs.telling, path, settings, None, PACE, session=False) as process:
        for number in (4, 8, 12):
            process.hear(number, 150)
            kill_one(process, choose)
        everyone = descendants(process.pid)
        process.hear("done", 150)
        episodes = process.heard()
        assert process.wait() == 0
        until(lambda: not any(living(pid) for pid in everyone))
    assert [episode[0] for episode in episodes] == list(range(EPISODES))
    assert episodes == without_faults(settings)


def living(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
