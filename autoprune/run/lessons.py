"""The folder of a policy that is being learned: what was asked for, and all that was evaluated."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import ArgumentError
from autoprune.files import StrPath, sweep
from autoprune.run.asked import check_asked
from autoprune.run.checkpoint import Checkpoint, Checkpoints
from autoprune.run.history import to_row
from autoprune.run.lock import LOCK_NAME, locked
from autoprune.run.spare import first_good, keep_spare, mend
from autoprune.run.stored import read_stored, write_stored, written_to
from autoprune.run.transfer import LESSONS_NAME, POLICY_NAME
from autoprune.score import Evaluation

if TYPE_CHECKING:
    from autoprune.agents import Episode, Policy
    from autoprune.envs.episodes import Evaluate

_CHECKPOINT = "checkpoint"


class Lessons:
    """Remembers what candidates of several networks were worth, in a folder or for the moment.

    The agent itself is not stored. It does the same again with the same seed, so that learning goes on by
    doing it all again with what was evaluated before, which takes the agent's own time alone. Should it
    decide differently, on another machine for example, the candidates that are new are evaluated.

    Made by `kept_in`.
    """

    def __init__(self, folder: Path | None, asked: Mapping[str, Any]) -> None:
        self._folder, self._asked = folder, asked
        self._rows: list[dict[str, Any]] = []
        self._known: dict[tuple[int, tuple[int, ...]], Evaluation] = {}
        self._images: list[dict[str, str]] = []

    def take_up(self, images: Sequence[Mapping[str, str]]) -> None:
        """Go on with what the folder holds.

        Args:
            images: Digests of what every lesson reads.

        Raises:
            ArgumentError: The lessons give other inputs or images than before.
            RunError: The folder cannot be read or written to.
        """
        self._images = [dict(one) for one in images]
        if self._folder is None or not (self._folder / LESSONS_NAME).exists():
            return
        path = self._folder / LESSONS_NAME
        with self._writing(self._folder):
            mend(path, read_stored)
        for number, (old, new) in enumerate(zip(read_stored(path)["images"], images, strict=True)):
            changed = [name for name, digest in new.items() if digest != old[name]]
            if changed:
                raise ArgumentError(
                    f"lesson {number} must give the same {changed[0]} as before to go on in "
                    f"'{self._folder}'; give the same, or another run_dir"
                )
        checkpoint = Checkpoints(self._folder / _CHECKPOINT).load()
        for row in checkpoint.history if checkpoint else ():
            self._rows.append(row)
            self._known[row["lesson"], tuple(row["widths"])] = Evaluation(row["score"], row["metrics"])

    def remembering(self, lesson: int, evaluate: "Evaluate") -> "Evaluate":
        """`evaluate`, but for the candidates of this lesson that are known."""

        def remembered(widths: Mapping[str, int]) -> Evaluation:
            known = self._known.get((lesson, tuple(widths.values())))
            return evaluate(widths) if known is None else Evaluation(known.score, dict(known.metrics))

        return remembered

    def add(self, lesson: int, episode: "Episode") -> None:
        """Make a finished episode safe.

        Raises:
            RunError: The folder cannot be written to; the episodes before are safe.
        """
        key = lesson, tuple(episode.widths.values())
        if self._folder is None or key in self._known:
            return
        self._known[key] = episode.evaluation
        self._rows.append(to_row(episode, list(episode.widths)) | {"lesson": lesson})
        path = self._folder / LESSONS_NAME
        with self._writing(self._folder):
            if not path.exists():  # so that a call that fails before leaves nothing behind
                write_stored(path, {"asked": dict(self._asked), "images": self._images})
                keep_spare(path)
            Checkpoints(self._folder / _CHECKPOINT).save(Checkpoint({}, self._rows))

    def finish(self, policy: "Policy") -> None:
        """Put the policy into the folder.

        Raises:
            RunError: It cannot be written.
        """
        if self._folder is not None:
            with self._writing(self._folder):
                policy.save(self._folder / POLICY_NAME)

    def _writing(self, folder: Path) -> Any:
        return written_to(
            folder, "what was evaluated before is safe; make room or give access, and try again"
        )


@contextmanager
def kept_in(run_dir: StrPath | None, asked: Mapping[str, Any]) -> Iterator[Lessons]:
    """What a folder remembers; it is locked meanwhile.

    Args:
        run_dir: New, empty, or of the same lessons; None remembers nothing.
        asked: All that decides what comes out, JSON values.

    Raises:
        ArgumentError: The folder holds other lessons, or something else.
        RunError: It is in use, damaged, or cannot be written to.
    """
    if run_dir is None:
        yield Lessons(None, asked)
        return
    folder = Path(run_dir)
    with written_to(folder, "choose a run_dir that you may write to"):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        path = folder / LESSONS_NAME
        with written_to(folder, "choose a run_dir that you may write to"):
            sweep(folder)
        if path.exists():
            check_asked(folder, "lessons", first_good(path, read_stored)["asked"], asked)
        elif any(other.name != LOCK_NAME for other in folder.iterdir()):
            raise ArgumentError(f"run_dir must be new, empty or hold these lessons, got '{folder}'")
        yield Lessons(folder, asked)
