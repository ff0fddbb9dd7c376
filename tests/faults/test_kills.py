"""Searches that are killed for real, again and again, end as if nothing had happened."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.api.runs import resume, what
from tests.faults import jobs
from tests.faults.processes import started, until

EPISODES = 60


def without_faults(settings: dict[str, Any]) -> list[Any]:
    """All episodes of the same search without a run directory and without faults, in a process of its own."""
    with started(jobs.undisturbed, settings) as process:
        episodes: list[Any] = process.heard()
        assert process.wait() == 0
    return episodes


@pytest.mark.parametrize(("kills", "workers"), [(20, 1), (8, 2)])
def test_kills_at_random_moments_change_nothing(kills: int, workers: int, tmp_path: Path) -> None:
    """The moment: a random number of stages and episodes after the start, and up to 20 ms more."""
    moments, path = random.Random(workers), tmp_path / "run"
    settings = {"episodes": EPISODES, "workers": workers}
    for _ in range(kills):
        words = moments.randrange(9)
        with started(jobs.telling, path, settings, max(1, words - 3)) as process:
            for _ in range(words):
                assert process.heard() not in (None, "done")
            time.sleep(moments.uniform(0, 0.02))
            process.send(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            until(lambda process=process: not process.family())  # type: ignore[misc]
    result = resume(path)
    assert not result.stopped and what(result) == without_faults(settings)
    assert sorted(t.user_attrs["episode"] for t in result.study.trials) == list(range(EPISODES))
    assert not list(path.glob(".*")), "killed writers leave no litter"


def test_kills_in_front_of_every_kind_of_change_on_disk(tmp_path: Path) -> None:
    """Sixteen changes of files are each the last of their process: at the start, between, at the end."""
    moments, path = random.Random(3), tmp_path / "run"
    settings = {"episodes": 6}
    numbers = [*range(1, 9), *(moments.randrange(9, 40) for _ in range(8))]
    killed = 0
    for number in numbers:
        with started(jobs.dying, path, settings, number) as process:
            code = process.wait()
            assert code in (-signal.SIGKILL, 0)
            killed += code != 0
    assert killed >= 14
    result = resume(path)
    assert not result.stopped and what(result) == without_faults(settings)
    assert sorted(t.user_attrs["episode"] for t in result.study.trials) == list(range(6))
    assert not list(path.glob(".*")), "killed writers leave no litter"
