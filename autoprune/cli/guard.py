"""Errors at the edge: one line that says what is wrong and what is allowed, and an exit code."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from autoprune.cli.config import add_config
from autoprune.errors import AutopruneError

USAGE = 2
CRASH = 1
INTERRUPTED = 130

# typer >= 0.20 carries its own copy of click: these are click's ClickException and UsageError in both cases.
UsageError: Any = typer.BadParameter.__mro__[1]
ClickException: Any = typer.BadParameter.__mro__[2]


def one_line(message: object) -> str:
    """The message without its line breaks."""
    return " ".join(str(message).split())


def fail(message: object, code: int) -> typer.Exit:
    """Print one line to stderr and return the exit to raise."""
    typer.echo(f"error: {one_line(message)}", err=True)
    return typer.Exit(code)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "autoprune"
    message = one_line(error.format_message())
    if message.startswith("No such command") and context is not None:
        message += f" The commands are {', '.join(context.command.commands)}."
    return f"{message} (see: {command} --help)"


class GuardedGroup(TyperGroup):
    """A group of commands in which no error shows a traceback, unless `--debug` asks for it.

    Exit codes: 0 done; 1 an unexpected error; 2 a bad argument or any other error that autoprune raises on
    purpose; 130 interrupted before there was a result.

    Every command of it, those of its groups too, takes its options from a file with `--config`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        add_config(self.commands.values())

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn what it raises into one line and an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, ClickException, KeyboardInterrupt, EOFError, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            if isinstance(error, AutopruneError):
                raise fail(error, USAGE) from error
            text = (
                f"unexpected {type(error).__name__}: {error} (run `autoprune --debug ...` for the traceback)"
            )
            raise fail(text, CRASH) from error

    def main(  # type: ignore[override]  # what else the base takes is passed on by name
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Parse and run; usage errors become one line too."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **extra)
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            code = super().main(words, prog_name, standalone_mode=False, **extra)
        except UsageError as error:
            code = fail(_usage(error), USAGE).exit_code
        except ClickException as error:
            code = fail(error.format_message(), error.exit_code).exit_code
        except (typer.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)
