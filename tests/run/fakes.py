"""An agent without a network: a random walk whose every episode depends on all episodes before."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune.agents import Episode
from autoprune.run.callbacks import Callback
from autoprune.run.checkpoint import Checkpoints
from autoprune.run.loop import run_episodes
from autoprune.run.recorder import Recorder
from autoprune.run.signals import StopRequest
from autoprune.run.study import StudyMirror, open_storage
from autoprune.score import Evaluation
from autoprune.timings import Timings

SIZES = {"a.weight": 8, "b.weight": 4}


class FakeAgent:
    finished = False

    def __init__(self, seed: int = 0, pause: float = 0.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._memory = torch.zeros(3, dtype=torch.float64)
        self._count = 0
        self._pause = pause

    def run_episode(self) -> Any:
        time.sleep(self._pause)
        self._memory = self._memory * 0.9 + torch.from_numpy(self._rng.normal(size=3))
        score = -float(self._memory.square().sum())
        widths = {name: int(self._rng.integers(1, size + 1)) for name, size in SIZES.items()}
        episode = Episode(
            self._count,
            widths,
            score,
            Evaluation(score, {"kl": -score}),
            {"macs": sum(widths.values())},
            0.01,
        )
        self._count += 1
        return episode

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "memory": self._memory,
            "count": self._count,
            "trace": np.arange(self._count),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._memory = state["memory"]
        self._count = state["count"]


class FakeDirectory:
    """The part of a run directory that a recorder uses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoint")

    def save(self, checkpoint: Any) -> None:
        self.checkpoints.save(checkpoint)


def recorder_in(path: Path, agent: FakeAgent) -> Recorder:
    directory: Any = FakeDirectory(path)
    mirror = StudyMirror(open_storage(None, path), "autoprune", SIZES, fresh=False)
    recorder = Recorder(list(SIZES), mirror, directory)
    checkpoint = directory.checkpoints.load()
    if checkpoint is not None:
        recorder.restore(checkpoint, agent)  # type: ignore[arg-type]
    return recorder


def run(path: Path, total: int, *, pause: float = 0.0, callbacks: tuple[Callback, ...] = ()) -> Recorder:
    """Start or resume the fake search in `path` and run it up to `total` episodes."""
    agent: Any = FakeAgent(pause=pause)
    recorder = recorder_in(path, agent)
    with StopRequest() as stop:
        run_episodes(agent, total, recorder, callbacks, stop, Timings())
    return recorder


def what(recorder: Recorder) -> list[Any]:
    """All that must agree of the episodes of two runs."""
    return [(e.number, dict(e.widths), e.reward, e.evaluation, dict(e.costs)) for e in recorder.history]
