"""A disk that is full or read-only stops a search with one sentence, and costs no episode."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autoprune
from autoprune.errors import RunError
from autoprune.run.checkpoint import Checkpoints
from autoprune.run.result import SearchResult
from tests.api.runs import resume, search, what
from tests.faults.disks import Disk, mounted
from tests.faults.jobs import QUICK

SETTINGS = QUICK | {"episodes": 6}


@pytest.fixture(scope="module")
def undisturbed() -> list[Any]:
    return what(search(None, **SETTINGS))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", 12) as disk:
        yield disk


class At(autoprune.Callback):
    """Does something at a moment: when a stage begins, or behind an episode."""

    def __init__(self, moment: str | int, act: Callable[[], None]) -> None:
        self._moment, self._act = moment, act

    def on_stage(self, name: str) -> None:
        if name == self._moment:
            self._act()

    def on_episode(self, episode: Any, best: Any) -> None:
        if episode.number == self._moment:
            self._act()


def stopped(run_dir: Path, moment: str | int, act: Callable[[], None], words: str) -> None:
    """The search ends with one sentence and leaves nothing half done but the study, which is a copy."""
    with pytest.raises(RunError) as raised:
        search(run_dir, callbacks=[At(moment, act)], **SETTINGS)
    message = str(raised.value)
    assert re.search(words, message) and "\n" not in message and len(message) < 600, message
    assert "make room or give access" in message
    assert not list(run_dir.rglob("*.tmp"))


def check_whole(result: SearchResult, undisturbed: list[Any]) -> None:
    assert not result.stopped and what(result) == undisturbed
    assert sorted(t.user_attrs["episode"] for t in result.study.trials) == list(range(6))
    assert not [path for path in (result.run_dir or Path()).iterdir() if "damaged" in path.name]


@pytest.mark.parametrize(
    ("moment", "slack"),
    [("trace", 0), ("rank", 0), *((2, pages) for pages in (0, 1, 2, 4, 8)), ("save", 0), ("save", 5)],
)
def test_a_full_disk(moment: str | int, slack: int, disk: Disk, undisturbed: list[Any]) -> None:
    run_dir = disk.path / "run"
    stopped(run_dir, moment, lambda: disk.fill(slack), "No space left on device")
    checkpoint = Checkpoints(run_dir / "checkpoint").load() if run_dir.exists() else None
    known = 0 if checkpoint is None else len(checkpoint.history)
    assert known >= {2: 3, "save": 6}.get(moment, 0)  # type: ignore[call-overload]
    if known:
        with pytest.raises(RunError, match="No space left on device"):
            resume(run_dir)
    disk.make_room()
    begun = (run_dir / "config.json").exists()
    check_whole(resume(run_dir) if begun else search(run_dir, **SETTINGS), undisturbed)


@pytest.mark.parametrize("moment", ["trace", 2, "save"])
def test_a_disk_that_becomes_read_only(moment: str | int, disk: Disk, undisturbed: list[Any]) -> None:
    run_dir = disk.path / "run"
    stopped(run_dir, moment, disk.forbid, "Read-only file system")
    if moment != "trace":
        with pytest.raises(RunError, match="cannot be written to: Read-only file system"):
            resume(run_dir)
    disk.allow()
    begun = (run_dir / "config.json").exists()
    assert begun == (moment != "trace")
    check_whole(resume(run_dir) if begun else search(run_dir, **SETTINGS), undisturbed)
