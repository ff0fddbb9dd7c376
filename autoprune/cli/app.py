"""The program: its global options and its commands."""

import logging
from typing import Annotated

import typer

from autoprune.cli.apply import apply
from autoprune.cli.criteria import criteria
from autoprune.cli.demo import demo
from autoprune.cli.export import export
from autoprune.cli.guard import GuardedGroup
from autoprune.cli.inspect import inspect
from autoprune.cli.policies import policies
from autoprune.cli.profile import profile
from autoprune.cli.prune import prune
from autoprune.cli.report_page import report
from autoprune.cli.resume import resume
from autoprune.cli.search import search
from autoprune.cli.sensitivity import sensitivity
from autoprune.cli.sweep import sweep

app = typer.Typer(
    cls=GuardedGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"autoprune {version('autoprune')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the library's log on stderr.")
    ] = False,
) -> None:
    """Find how much of each layer of a PyTorch network to prune, under a hard budget.

    Try it without anything of your own: `autoprune demo`
    """
    if verbose or debug:
        logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format="%(name)s: %(message)s")


app.command()(search)
app.command()(resume)
app.command()(report)
app.command()(inspect)
app.command()(apply)
app.command()(export)
app.command()(profile)
app.command()(sweep)
app.command()(prune)
app.command()(sensitivity)
app.command()(criteria)
app.command()(demo)
app.add_typer(policies, name="policies")
