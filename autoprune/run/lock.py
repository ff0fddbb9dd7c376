"""One process per run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autoprune.errors import RunError

LOCK_NAME = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run directory; the operating system frees it when the process dies, however it dies.

    Raises:
        RunError: Another search holds it, or the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(f"run_dir '{folder}' is in use by another search; wait for it or stop it") from error
    except OSError as error:
        raise RunError(f"run_dir '{folder}' cannot be written to: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
