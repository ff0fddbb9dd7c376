"""The folder of one pipeline: settings, the newest checkpoints, the result."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.errors import RunError
from autoprune.files import StrPath, write_tensors, write_text
from autoprune.pipelines.result import PipelineResult
from autoprune.run.checkpoint import Checkpoint, Checkpoints
from autoprune.run.lock import LOCK_NAME, locked
from autoprune.run.stored import read_stored, write_stored, written_to

SETTINGS, CHECKPOINT = "pipeline.json", "checkpoint"


class Folder:
    """A locked folder; made by `opened_folder`.

    Attributes:
        path: Where it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checkpoints = Checkpoints(path / CHECKPOINT)
        self._steps: list[dict[str, Any]] = []

    def load(self) -> dict[str, Any] | None:
        """The newest undamaged state, None if nothing was saved yet.

        Raises:
            RunError: All checkpoints are damaged.
        """
        found = self._checkpoints.load()
        if found is None:
            return None
        self._steps = found.history
        return dict(found.agent)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint beside the one before.

        Raises:
            RunError: It cannot be written; the one before is intact.
        """
        self._steps = [*self._steps, {"round": state["round"], "losses": len(state["row"].get("losses", ()))}]
        with self._writing():
            self._checkpoints.save(Checkpoint(state, self._steps))

    def finish(self, result: PipelineResult) -> None:
        """Write the result.

        Cut channels give the folder `pruned` (as `autoprune.save` writes it), masked weights the files
        `model.safetensors` and `masks.safetensors`; both, `history.json` and `summary.txt`.

        Raises:
            RunError: It cannot be written.
        """
        from autoprune.io import save

        with self._writing():
            if result.plan is not None:
                save(result.model, result.plan, self.path / "pruned")
            else:
                write_tensors(self.path / "model.safetensors", _state_dict(result.model))
            if result.masks is not None:
                result.masks.save(self.path / "masks.safetensors")
            write_text(self.path / "history.json", json.dumps(result.history, indent=1) + "\n")
            write_text(self.path / "summary.txt", result.summary() + "\n")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        hint = "the steps before are safe; make room or give access, then run it again with resume"
        with written_to(self.path, hint):
            yield


def _state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the `state_dict`, under all of their names."""
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


@contextmanager
def opened_folder(run_dir: StrPath, resume: bool, settings: dict[str, Any]) -> Iterator[Folder]:
    """Make and lock the folder of a new run, or open that of the same run.

    Args:
        run_dir: The folder.
        resume: Whether it may hold an earlier run.
        settings: JSON values that tell runs apart.

    A run that fails before its first checkpoint leaves nothing.

    Raises:
        RunError: It holds a run and `resume` is False, another run, or other files; is in use; or cannot be
            written to.
    """
    path = Path(run_dir)
    config, made = path / SETTINGS, not path.exists()
    _refuse(path, resume)
    with written_to(path, "choose a run_dir that you may write to"):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        if config.exists():
            _refuse(path, resume)
            _compare(config, settings)
        else:
            with written_to(path, "choose a run_dir that you may write to"):
                write_stored(config, settings)
        try:
            yield Folder(path)
        finally:
            if not (path / CHECKPOINT).exists():
                _tidy(path, made)


def _tidy(path: Path, made: bool) -> None:
    """Leave nothing of a run that failed before it did anything."""
    with suppress(OSError):
        for name in (SETTINGS, LOCK_NAME):
            (path / name).unlink(missing_ok=True)
        if made:
            path.rmdir()


def _refuse(path: Path, resume: bool) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"run_dir '{path}' must be a folder, got a file")
    if (path / SETTINGS).exists():
        if not resume:
            raise RunError(
                f"run_dir '{path}' already holds a pipeline; go on with resume=True (`--resume`), or choose "
                "another folder"
            )
        return
    own = (LOCK_NAME,)
    names = [p.name for p in path.iterdir()] if path.exists() else []
    foreign = [n for n in names if n not in own and not n.startswith(f".{SETTINGS}.")]
    if foreign:
        raise RunError(
            f"run_dir '{path}' must be new or empty, it holds '{min(foreign)}'; choose another one"
        )


def _compare(config: Path, settings: Mapping[str, Any]) -> None:
    recorded = read_stored(config)
    given = json.loads(json.dumps(settings))
    for name in sorted(recorded.keys() | given.keys()):
        if recorded.get(name) != given.get(name):
            raise RunError(
                f"run_dir '{config.parent}' can only be resumed with the settings that it was begun with: "
                f"{name} was {recorded.get(name)!r}, got {given.get(name)!r}"
            )
