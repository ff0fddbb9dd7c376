"""The search as an Optuna study, so that Optuna's dashboard, plots and tables work on it."""

import datetime
import importlib.util
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from autoprune.errors import RunError
from autoprune.graph import PruneGraph
from autoprune.run.directory import JOURNAL_NAME

if TYPE_CHECKING:
    from autoprune.agents import Episode

logger = logging.getLogger(__name__)

EPISODE = "episode"
POSTGRES = "postgresql"
DRIVERS = ("psycopg", "psycopg2")
"""Of PostgreSQL, the first that is installed is used where the URL names none."""

OPENINGS = 5
"""How often a new database is tried whose tables another search makes at the same time."""


class StudyMirror:
    """Copies finished episodes into a study; the history stays the truth.

    One trial per episode: its parameters are the keep ratios by group, its value the reward, which is what
    the agent maximizes (the score, with the rewards `kl` and `accuracy`), its user attributes the number of
    the episode, widths, costs, score, metrics and seconds. An episode is added in one write, so that a
    crash leaves a whole trial or none.

    Args:
        storage: Where the study lives.
        name: Its name.
        sizes: Units of every prunable group, by name, in network order.
        fresh: Whether the study must be new.

    Raises:
        RunError: `fresh`, but the storage already has a study of that name; or the storage cannot be reached.
    """

    def __init__(self, storage: BaseStorage, name: str, sizes: dict[str, int], *, fresh: bool) -> None:
        self._sizes = sizes
        self._behind = False
        with _quiet_optuna():
            try:
                self.study = optuna.create_study(
                    storage=storage, study_name=name, direction="maximize", load_if_exists=not fresh
                )
            except DuplicatedStudyError as error:
                raise RunError(f"storage already has a study '{name}'; choose another study_name") from error
            except Exception as error:
                raise RunError(
                    f"the study '{name}' cannot be opened: {_first_line(error)}; make room or give "
                    "access, or choose another storage"
                ) from error
        self._stored = {t.user_attrs[EPISODE]: t.value for t in self._trials() if EPISODE in t.user_attrs}

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def agrees(self, history: "Sequence[Episode]") -> bool:
        """Whether the study has no episode twice, and those of the history as the history has them."""
        found = [(t.user_attrs[EPISODE], t) for t in self._trials() if EPISODE in t.user_attrs]
        trials = dict(found)
        pairs = [(trials[e.number], self._trial(e)) for e in history if e.number in trials]
        return len(found) == len(trials) and all(_content(a) == _content(b) for a, b in pairs)

    def sync(self, history: "Sequence[Episode]") -> None:
        """Add every episode of the history that the study lacks.

        A storage that cannot be reached is logged and tried again with the next episode.
        """
        try:
            for episode in history:
                self._add(episode)
            self._behind = False
        except Exception as error:
            if not self._behind:
                logger.warning("the study was not written, trying again with the next episode: %s", error)
            self._behind = True

    def _add(self, episode: "Episode") -> None:
        reward = episode.reward
        if episode.number in self._stored:
            known = self._stored[episode.number]
            if known is not None and known != reward:
                logger.warning(
                    "episode %d: the study has reward %r, the run %r", episode.number, known, reward
                )
                self._stored[episode.number] = reward
            return
        self.study.add_trial(self._trial(episode))
        self._stored[episode.number] = reward

    def _trial(self, episode: "Episode") -> FrozenTrial:
        reward, end = episode.reward, datetime.datetime.now()
        complete = math.isfinite(reward)
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.COMPLETE if complete else TrialState.FAIL,
            value=reward if complete else None,
            datetime_start=end - datetime.timedelta(seconds=episode.seconds),
            datetime_complete=end,
            params={name: episode.widths[name] / size for name, size in self._sizes.items()},
            distributions={name: FloatDistribution(0.0, 1.0) for name in self._sizes},
            user_attrs=self._attributes(episode),
            system_attrs={},
            intermediate_values={},
        )

    def _attributes(self, episode: "Episode") -> dict[str, Any]:
        return {
            EPISODE: episode.number,
            "widths": {name: int(episode.widths[name]) for name in self._sizes},
            "costs": dict(episode.costs),
            "metrics": dict(episode.evaluation.metrics),
            "score": episode.evaluation.score,
            "seconds": episode.seconds,
        }


def _content(trial: FrozenTrial) -> str:
    """All that a trial says of its episode but the seconds, which a history rounds."""
    ours = {key: trial.user_attrs.get(key) for key in ("widths", "costs", "metrics", "score")}
    return json.dumps([trial.state.name, trial.value, trial.params, ours], sort_keys=True)


def mirror_of(
    storage: str | BaseStorage | None,
    name: str,
    graph: PruneGraph,
    run_dir: Path | None,
    *,
    fresh: bool,
    history: "Sequence[Episode]" = (),
) -> StudyMirror:
    """Open the storage (see `open_storage`) and the study in it (see `StudyMirror`).

    A journal in the run directory that differs from `history` was damaged and is written anew.
    """
    sizes = {group.name: group.size for group in graph.prunable}
    mirror = StudyMirror(open_storage(storage, run_dir), name, sizes, fresh=fresh)
    if storage is None and run_dir is not None and not mirror.agrees(history):
        _set_aside(run_dir / JOURNAL_NAME, "it differs from the checkpoint")
        mirror = StudyMirror(open_storage(storage, run_dir), name, sizes, fresh=fresh)
    return mirror


def open_storage(storage: str | BaseStorage | None, run_dir: Path | None) -> BaseStorage:
    """The storage that a search writes its study to.

    Args:
        storage: An Optuna storage or its URL; None means a journal file in `run_dir`, or memory without one.
        run_dir: The run directory; its lock is held.

    Raises:
        RunError: Optuna cannot open the storage.
    """
    try:
        if isinstance(storage, str) and storage.startswith(POSTGRES):
            return optuna.storages.get_storage(_server(storage))
        if storage is not None:
            return optuna.storages.get_storage(storage)
        return InMemoryStorage() if run_dir is None else _journal(run_dir / JOURNAL_NAME)
    except RunError:
        raise
    except Exception as error:
        shown = hidden(storage) or f"{run_dir}/{JOURNAL_NAME}"
        raise RunError(
            f"storage '{shown}' cannot be opened: {_first_line(error)}; make room or give access, or choose "
            "another storage"
        ) from error


def _server(url: str) -> RDBStorage:
    """A PostgreSQL database, connected to only while an episode is written: many searches may share it.

    Raises:
        RunError: No driver is installed.
    """
    if url.startswith(f"{POSTGRES}://"):
        driver = next((name for name in DRIVERS if importlib.util.find_spec(name)), None)
        if driver is None:
            raise RunError(
                f"storage '{hidden(url)}' needs a PostgreSQL driver: pip install 'autoprune[postgres]'"
            )
        url = url.replace(POSTGRES, f"{POSTGRES}+{driver}", 1)
    from sqlalchemy.pool import NullPool

    for left in reversed(range(OPENINGS)):
        try:
            return RDBStorage(url, engine_kwargs={"poolclass": NullPool})
        except Exception as error:
            # Of several searches that make the tables of a new database at once, one succeeds.
            if not left or ("already exists" not in str(error) and "duplicate key" not in str(error)):
                raise
            time.sleep(0.2)
    raise AssertionError


def _first_line(error: BaseException) -> str:
    """What an error says, without the further lines that databases add."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def hidden(storage: str | BaseStorage | None) -> str | None:
    """A storage as it may be written down: a URL without its password, or the class of an object."""
    if not isinstance(storage, str):
        return None if storage is None else type(storage).__name__
    if "://" not in storage:
        return storage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(storage)
    except ArgumentError:
        return storage.partition("://")[0] + "://..."
    secret = [key for key in url.query if "password" in key.lower()]
    if url.password is None and not secret:
        return storage
    return url.update_query_dict(dict.fromkeys(secret, "***")).render_as_string(hide_password=True)


def _journal(path: Path) -> BaseStorage:
    """A journal file as storage, repaired first: the study is a copy, the run must not end because of it."""
    path = path.absolute()  # the lock is a symbolic link to the path, which must not dangle
    if path.exists():
        _cut_torn_line(path)
    backend = _backend(path)
    try:
        return JournalStorage(backend)
    except OSError:
        raise
    except Exception as error:
        _set_aside(path, str(error))
        return JournalStorage(_backend(path))


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    path.rename(aside)
    logger.warning("'%s' was damaged (%s); moved to '%s', writing a new one", path, why, aside)


class _WholeLines(JournalFileBackend):
    """A journal that takes back what it could not write in full, as on a full disk."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except BaseException:
            _cut_torn_line(Path(self._file_path))
            raise


def _backend(path: Path) -> JournalFileBackend:
    return _WholeLines(str(path), lock_obj=JournalFileSymlinkLock(str(path), grace_period=3))


def _cut_torn_line(path: Path) -> None:
    """Drop the unfinished last line of a killed process; a line appended to it could not be read back."""
    with open(path, "r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna from printing to stderr; it installs a handler of its own."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
