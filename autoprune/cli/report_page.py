"""`autoprune report`: the page on a search, from its run folder alone."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="The folder of a search that has ended.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="By default report.html in the folder of the run."),
    ] = None,
) -> None:
    """Write the report of a search: one HTML page that opens anywhere, offline too.

    It shows what was found beside the dense network and the baselines, how the search learned, what stays of
    every group, and what it takes to make the run again. A search writes it at its end; the network is not
    needed for it. Needs plotly (pip install 'autoprune[report]').

    Example: `autoprune report runs/r20`
    """
    from autoprune.cli.console import show
    from autoprune.errors import RunError
    from autoprune.report import write_report

    try:
        show([str(write_report(run_dir, out))])
    except OSError as error:
        target = out or run_dir / "report.html"
        raise RunError(
            f"cannot write '{target}': {error.strerror or error}; name another with --out"
        ) from error
