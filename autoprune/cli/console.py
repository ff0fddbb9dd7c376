"""Where output goes: the result to stdout, everything else to stderr."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console

WIDE = 160
"""Columns of a table that goes to a file or pipe, where there is no terminal to fit."""


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    return console


def out() -> Console:
    """The console for the result."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress and notes."""
    return _console(stderr=True)


def show(parts: Iterable[Any]) -> None:
    """Print tables and plain lines as the result; lines are never wrapped, nor read as markup."""
    console = out()
    for part in parts:
        if isinstance(part, str):
            console.print(part, markup=False, soft_wrap=True)
        else:
            console.print(part)
