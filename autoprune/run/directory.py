"""The folder that one search owns: what lies where, and who may write there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from autoprune.errors import RunError
from autoprune.files import sweep
from autoprune.run.checkpoint import Checkpoint, Checkpoints
from autoprune.run.config import RunConfig
from autoprune.run.inputs import read_inputs, write_inputs
from autoprune.run.lock import LOCK_NAME, locked
from autoprune.run.outcome import Outcome
from autoprune.run.spare import first_good, keep_spare, mend
from autoprune.run.stored import read_stored, validated, write_stored, written_to

Record = TypeVar("Record", bound=BaseModel)

INPUTS_NAME = "example_inputs.safetensors"
JOURNAL_NAME = "optuna.journal"
_JOURNAL_LOCK = f"{JOURNAL_NAME}.lock"
"""How the names of Optuna's locks of the journal begin."""

STARTED = (LOCK_NAME, INPUTS_NAME, JOURNAL_NAME)
"""What a search that ended before its first episode may leave, and the next one may replace."""


class RunDirectory:
    """A locked run directory; made by `created` or `opened`.

    Every file in it knows when it was damaged. What a search cannot go on without is there twice: the newest
    checkpoint and the one before it, and copies of settings and inputs in the folder `spare`.

    Attributes:
        path: The folder.
        config_path: `config.json`: settings and fingerprints; its presence means that a run was begun here.
        inputs_path: `example_inputs.safetensors`.
        pruned_path: Folder `pruned` with the result, as `autoprune.save` writes it, at the end.
        summary_path: `summary.txt`, likewise.
        outcome_path: `outcome.json`, likewise: what a report shows beside the history.
        report_path: `report.html`, made from the other files.
        checkpoints: The folder `checkpoint`, with the state of agent and history.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"
        self.inputs_path = path / INPUTS_NAME
        self.pruned_path = path / "pruned"
        self.summary_path = path / "summary.txt"
        self.outcome_path = path / "outcome.json"
        self.report_path = path / "report.html"
        self.checkpoints = Checkpoints(path / "checkpoint")

    def write_config(self, config: RunConfig) -> None:
        """Record the settings.

        Raises:
            RunError: The file cannot be written.
        """
        with self.writing():
            write_stored(self.config_path, config.body())
            keep_spare(self.config_path)

    def read_config(self) -> RunConfig:
        """The recorded settings, from the copy where the file is damaged.

        Raises:
            RunError: Both are missing or damaged, or the file is of another version.
        """
        return validated(RunConfig, self.config_path, first_good(self.config_path, read_stored))

    def write_inputs(self, inputs: Any) -> None:
        """Record the example inputs.

        Raises:
            ArgumentError: An argument is neither tensor nor JSON.
            RunError: The file cannot be written.
        """
        with self.writing():
            write_inputs(self.inputs_path, inputs)

    def read_inputs(self) -> Any:
        """The example inputs, from the copy where the file is damaged.

        Raises:
            RunError: Both are missing or damaged.
        """
        return first_good(self.inputs_path, read_inputs)

    def mend(self) -> None:
        """Renew damaged or missing files from their copies, and copies from their files; sweep the rest.

        Raises:
            RunError: They cannot be written.
        """
        with self.writing():
            mend(self.config_path, read_stored)
            mend(self.inputs_path, read_inputs)
            sweep(self.path)

    def write_outcome(self, outcome: Outcome) -> None:
        """Record how the search ended.

        Raises:
            RunError: The file cannot be written.
        """
        with self.writing():
            write_stored(self.outcome_path, outcome.model_dump(mode="json"))

    def read_outcome(self) -> Outcome:
        """How the search ended.

        Raises:
            RunError: The file is missing, damaged, or of another version.
        """
        return validated(Outcome, self.outcome_path, read_stored(self.outcome_path))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint.

        Raises:
            RunError: It cannot be written; the one before is intact.
        """
        with self.writing():
            self.checkpoints.save(checkpoint)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failed write into a `RunError` that says how to go on."""
        hint = f"the episodes before are safe; make room or give access, then use resume('{self.path}')"
        if not self.config_path.exists():
            hint = "nothing was searched yet; make room or give access, then start again"
        with written_to(self.path, hint):
            yield


@contextmanager
def created(run_dir: str | PathLike[str]) -> Iterator[RunDirectory]:
    """Make and lock the directory of a new run. A run that fails before its config is written leaves nothing.

    Raises:
        RunError: It holds a run or other files, is in use, or cannot be written to.
    """
    directory = RunDirectory(Path(run_dir))
    path = directory.path
    _refuse_used(directory)
    made = not path.exists()
    with written_to(path, "choose a run_dir that you may write to"):
        path.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path):
            _refuse_used(directory)
            try:
                yield directory
            finally:
                if not directory.config_path.exists():
                    _tidy(path)
    finally:
        if made:
            with suppress(OSError):
                path.rmdir()  # which fails where anything is in it


@contextmanager
def opened(run_dir: str | PathLike[str]) -> Iterator[RunDirectory]:
    """Lock the directory of an earlier run, and renew what is damaged in it from its copies.

    Raises:
        RunError: There is no run in it, it is in use, or cannot be written to.
    """
    directory = RunDirectory(Path(run_dir))
    if not directory.config_path.is_file():
        raise RunError(f"run_dir '{directory.path}' holds no run (no config.json); start one with search")
    with locked(directory.path):
        directory.mend()
        yield directory


def _started(name: str) -> bool:
    """Whether a search that was killed at its start may have left this file, half written or whole."""
    halves = (f".{whole}." for whole in (*STARTED, "config.json"))
    if name in STARTED or name.startswith(_JOURNAL_LOCK):
        return True
    return name.endswith(".tmp") and name.startswith(tuple(halves))


def _refuse_used(directory: RunDirectory) -> None:
    path = directory.path
    if directory.config_path.exists():
        raise RunError(
            f"run_dir '{path}' already holds a run; continue it with autoprune.resume('{path}') "
            f"(`autoprune resume {path}`), or choose another folder"
        )
    if path.exists() and not path.is_dir():
        raise RunError(f"run_dir '{path}' must be a folder, got a file")
    with written_to(path, "choose a run_dir that you may write to"):
        foreign = [p.name for p in path.iterdir() if not _started(p.name)] if path.exists() else []
    if foreign:
        raise RunError(
            f"run_dir '{path}' must be new or empty, it holds '{min(foreign)}'; choose another one"
        )


def _tidy(path: Path) -> None:
    """Remove what a failed start left; only for the process that holds the lock."""
    with suppress(OSError):
        for left in (*(path / name for name in STARTED), *path.glob(f"{_JOURNAL_LOCK}*")):
            left.unlink(missing_ok=True)
