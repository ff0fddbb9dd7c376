"""Run a typer program in this process."""

from collections.abc import Sequence
from typing import Any

import typer
from typer.testing import CliRunner


def invoke(app: typer.Typer, words: Sequence[str]) -> Any:
    """Run `app` with `words`; the result has `exit_code`, `stdout`, `stderr` and `exception`."""
    try:
        runner = CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    except TypeError:  # click >= 8.2, and typer >= 0.26 that brings its own, keep the two apart anyway
        runner = CliRunner()
    return runner.invoke(app, words)
