from collections.abc import Callable

import pytest
import typer

from autoprune.cli.guard import GuardedGroup, one_line
from autoprune.errors import ArgumentError, BudgetError, RunError
from tests.cli.invoke import invoke


def program(action: Callable[[], object]) -> typer.Typer:
    """A program with the command `go` that runs `action`, guarded as autoprune is."""
    app = typer.Typer(cls=GuardedGroup, pretty_exceptions_enable=False)

    @app.callback()
    def options(debug: bool = False) -> None:
        """Options."""

    @app.command()
    def go(count: int = 1) -> None:
        """Go."""
        action()

    @app.command()
    def stay() -> None:
        """Stay."""

    return app


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ArgumentError("a must be b"), 2, "error: a must be b\n"),
        (BudgetError("two\n  lines"), 2, "error: two lines\n"),
        (RunError("used already"), 2, "error: used already\n"),
        (
            KeyError("x"),
            1,
            "error: unexpected KeyError: 'x' (run `autoprune --debug ...` for the traceback)\n",
        ),
        (
            ValueError(""),
            1,
            "error: unexpected ValueError: (run `autoprune --debug ...` for the traceback)\n",
        ),
    ],
)
def test_an_error_is_one_line(error: Exception, code: int, text: str) -> None:
    result = invoke(program(raising(error)), ["go"])
    assert (result.exit_code, result.stderr, result.stdout) == (code, text, "")


@pytest.mark.parametrize("error", [ArgumentError("a must be b"), KeyError("x")])
def test_debug_lets_the_error_through(error: Exception) -> None:
    result = invoke(program(raising(error)), ["--debug", "go"])
    assert result.exception is error


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["go", "--count", "many"], "--count"),
        (["go", "--speed", "3"], "No such option"),
        (["og"], "go, stay"),
        (["go", "extra"], "extra"),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_help(words: list[str], text: str) -> None:
    result = invoke(program(lambda: None), words)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "--help)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_an_interrupt_before_there_is_a_result_exits_130() -> None:
    result = invoke(program(raising(KeyboardInterrupt())), ["go"])
    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_no_words_show_the_help() -> None:
    result = invoke(program(lambda: None), [])
    assert result.exit_code == 0
    assert "go" in result.stdout


def test_done_is_zero_and_an_exit_keeps_its_code() -> None:
    assert invoke(program(lambda: None), ["go"]).exit_code == 0
    assert invoke(program(raising(typer.Exit(7))), ["go"]).exit_code == 7


def test_one_line_joins_lines() -> None:
    assert one_line("  a\n   b\tc ") == "a b c"
