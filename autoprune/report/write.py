"""From a run directory to a file."""

import logging
from functools import cache
from os import PathLike
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.files import StrPath, write_text

logger = logging.getLogger(__name__)


def write_report(run_dir: str | PathLike[str], out: StrPath | None = None) -> Path:
    """Write the report of a search that has ended.

    Args:
        run_dir: Folder of the run.
        out: The file; None takes `report.html` in the folder of the run.

    Returns:
        The file.

    Raises:
        ArgumentError: plotly or jinja2 is not installed.
        RunError: There is no run, its search has not ended, or one of its files is damaged.
        OSError: The file cannot be written.
    """
    from autoprune.report.page import page
    from autoprune.report.read import read_run
    from autoprune.run.directory import RunDirectory

    directory = RunDirectory(Path(run_dir))
    target = directory.report_path if out is None else Path(out)
    write_text(target, page(read_run(directory)))
    return target


def write_report_or_log(run_dir: str | PathLike[str]) -> None:
    """The same, but a report that cannot be made is one line of the log: a search must not fail of it."""
    try:
        write_report(run_dir)
    except AutopruneError as error:
        _warn(Path(run_dir), str(error))
    except Exception as error:
        _warn(Path(run_dir), f"{type(error).__name__}: {error}")


@cache
def _warn(run_dir: Path, why: str) -> None:
    """Once for a run: its report is written anew when the networks were compared."""
    logger.warning("no report.html was written: %s", why)
