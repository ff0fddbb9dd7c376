"""The folder of a demo: made anew each time, and never in place of anything else."""

import shutil
from pathlib import Path

from autoprune.errors import RunError

MARK = ".autoprune-demo"


def fresh_folder(path: Path) -> Path:
    """Make `path` an empty folder; one that an earlier demo made is emptied first.

    Raises:
        RunError: It holds something else, or cannot be written to.
    """
    try:
        if path.is_dir() and (path / MARK).is_file():
            shutil.rmtree(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(
                f"the demo's folder must be new or an earlier demo's, got '{path}'; name another with --out"
            )
        path.mkdir(parents=True, exist_ok=True)
        (path / MARK).touch()
    except OSError as error:
        raise RunError(
            f"cannot write to '{path}': {error.strerror}; name another folder with --out"
        ) from error
    return path
