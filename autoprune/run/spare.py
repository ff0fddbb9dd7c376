"""Second copies of the files that a run cannot do without, in a folder of their own."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autoprune.errors import RunError
from autoprune.files import write_bytes

logger = logging.getLogger(__name__)
T = TypeVar("T")

FOLDER = "spare"


def keep_spare(path: Path) -> None:
    """Copy a file that was just written.

    Raises:
        OSError: The copy cannot be written.
    """
    write_bytes(spare_of(path), path.read_bytes())


def spare_of(path: Path) -> Path:
    """Where the copy of a file lies."""
    return path.parent / FOLDER / path.name


def first_good(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` gives of a file, or of its copy where the file is damaged.

    Args:
        path: The file.
        read: Raises a `RunError` where a file is missing or damaged.

    Raises:
        RunError: Both are damaged; it is the one about the file itself.
    """
    try:
        return read(path)
    except RunError as error:
        spare = spare_of(path)
        if _is_good(spare, read):
            logger.warning("%s; its copy '%s' is used", error, spare)
            return read(spare)
        raise


def mend(path: Path, read: Callable[[Path], Any]) -> None:
    """Make file and copy alike again; a damaged file is kept beside as `{name}.damaged-{time}`.

    Nothing happens where both are damaged. To be called by the process that holds the lock of the run.

    Args:
        path: The file.
        read: As for `first_good`.

    Raises:
        OSError: The folder cannot be written to.
    """
    spare = spare_of(path)
    if _is_good(path, read):
        if not spare.exists() or spare.read_bytes() != path.read_bytes():
            keep_spare(path)
    elif _is_good(spare, read):
        if path.exists():
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            write_bytes(aside, path.read_bytes())
            logger.warning("'%s' is damaged and was kept as '%s'", path, aside)
        write_bytes(path, spare.read_bytes())


def _is_good(path: Path, read: Callable[[Path], Any]) -> bool:
    try:
        read(path)
    except RunError:
        return False
    return True
