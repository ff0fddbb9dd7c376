"""What the processes of these tests run: searches of a small real network with a real agent."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import autoprune
from autoprune.run.result import SearchResult
from tests.api.problem import data
from tests.api.runs import DDPG, SOURCES, resume, search, what

torch.set_num_threads(1)

Tell = Callable[[Any], None]
QUICK: dict[str, Any] = {
    "agent": "ddpg",
    "agent_settings": DDPG | {"batch_episodes": 2, "gradient_steps": 1},
    "calibration_images": 48,
    "fit_images": 24,
    "baselines": (),
}


def splits() -> autoprune.DataSplits:
    """For the command line, which looks at a test set at the end."""
    return autoprune.DataSplits(data().train, data().search_val)


def go_on(run_dir: Path, **settings: Any) -> SearchResult:
    """Start a search, or resume it where it has begun."""
    if (run_dir / "config.json").exists():
        return resume(run_dir, callbacks=settings.get("callbacks", ()))
    return search(run_dir, **QUICK | SOURCES | settings)


def undisturbed(tell: Tell, settings: dict[str, Any]) -> None:
    """A search without a run directory; tells its episodes."""
    tell(what(search(None, **QUICK | settings)))


class Telling(autoprune.Callback):
    """Tells stages and episodes as they come, `pace` seconds apart, and stands still behind `last`."""

    def __init__(self, tell: Tell, last: int | None = None, pace: float = 0) -> None:
        self._tell, self._left, self._pace = tell, last, pace

    def on_stage(self, name: str) -> None:
        self._tell(name)

    def on_episode(self, episode: Any, best: Any) -> None:
        self._tell(episode.number)
        time.sleep(self._pace)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                time.sleep(600)


def telling(
    tell: Tell, run_dir: Path, settings: dict[str, Any], last: int | None = None, pace: float = 0
) -> None:
    """Go on with a search; tells stages and episodes, "stopped" or "done", and all episodes."""
    result = go_on(run_dir, callbacks=[Telling(tell, last, pace)], **settings)
    tell("stopped" if result.stopped else "done")
    tell(what(result))


def dying(tell: Tell, run_dir: Path, settings: dict[str, Any], operation: int) -> None:
    """Go on with a search that is killed in front of its n-th change of a file in the run directory."""
    _die_at(run_dir, operation)
    telling(tell, run_dir, settings)


def _die_at(run_dir: Path, operation: int) -> None:
    left = operation

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal left
        if not _changes(event, given, str(run_dir)):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _changes(event: str, given: tuple[Any, ...], folder: str) -> bool:
    """Whether an audit event of the interpreter announces a change below `folder`."""
    if event == "open":
        path, _, flags = given
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        return writes and isinstance(path, str | Path) and str(path).startswith(folder)
    if event in ("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.truncate", "os.chmod"):
        return any(isinstance(path, str | Path) and str(path).startswith(folder) for path in given)
    return False
