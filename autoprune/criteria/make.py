"""From text to a criterion."""

import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from autoprune.criteria.criterion import Criterion
from autoprune.criteria.registry import CRITERIA, WRAPPERS
from autoprune.errors import ArgumentError

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[-+]?[\d.][\w.]*(?:(?<=[eE])[-+]\d+)?|[(),]|\S)")


def make_criterion(criterion: str | Criterion) -> Criterion:
    """A criterion from text, or the given object.

    Args:
        criterion: A name, with numbers for its constructor where it takes some, or a wrapper around another
            criterion: `taylor`, `magnitude(3)`, `flops(layer_l2(taylor), 1e-8)`.

    Raises:
        ArgumentError: No criterion of that name, arguments that it does not take, or text of another form.
    """
    if isinstance(criterion, Criterion):
        return criterion
    if not isinstance(criterion, str):
        raise ArgumentError(f"criterion must be a name or a Criterion object, got {criterion!r}")
    parser = _Parser(criterion)
    found = parser.criterion()
    parser.end()
    return found


def text_of(criterion: str | Criterion) -> str:
    """How a run records a criterion: as the text that made it, numbers included; an object by its name."""
    return criterion if isinstance(criterion, str) else criterion.name


class _Parser:
    """Reads `name`, or `name(argument, ...)` with criteria and numbers as arguments."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_TOKEN.findall(text), ""]
        self._at = 0

    def criterion(self) -> Criterion:
        """The criterion that begins here."""
        name = self._next()
        make = self._known(name)
        arguments: list[Criterion | float] = []
        if self._tokens[self._at] == "(":
            self._next()
            arguments = self._arguments()
        self._check(name, make, arguments)
        return make(*arguments)

    def end(self) -> None:
        """Refuse what follows a complete criterion."""
        if left := self._tokens[self._at]:
            raise self._error(f"nothing may follow it, but '{left}' does")

    def _arguments(self) -> list[Criterion | float]:
        found = [self._argument()]
        while (token := self._next()) == ",":
            found.append(self._argument())
        if token != ")":
            raise self._error(f"')' must close the arguments, got '{token or 'the end'}'")
        return found

    def _argument(self) -> Criterion | float:
        token = self._tokens[self._at]
        if not re.match(r"[-+\d.]", token):
            return self.criterion()
        try:
            number = float(token)
        except ValueError as error:
            raise self._error(f"'{token}' is no number") from error
        self._next()
        return number

    def _next(self) -> str:
        token: str = self._tokens[self._at]
        self._at += bool(token)
        return token

    def _known(self, name: str) -> Callable[..., Criterion]:
        known: dict[str, Any] = {**CRITERIA, **WRAPPERS}
        if name in known:
            return known[name]  # type: ignore[no-any-return]
        if not re.match(r"[A-Za-z_]", name) and self._text.strip():
            raise self._error(f"the name of a criterion must stand in place of '{name or 'the end'}'")
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        inside = f" in '{self._text}'" if name != self._text else ""
        raise ArgumentError(
            f"criterion must be one of {', '.join(CRITERIA)}, or one of these in a wrapper "
            f"({', '.join(WRAPPERS)}), got '{name}'{inside}{hint}"
        )

    def _check(self, name: str, make: Callable[..., Criterion], arguments: list[Criterion | float]) -> None:
        """Refuse arguments that the constructor does not take: criteria for wrappers, numbers otherwise."""
        kinds = [isinstance(argument, Criterion) for argument in arguments]
        fits = kinds == [i == 0 and name in WRAPPERS for i in range(len(kinds))]
        try:
            inspect.signature(make).bind(*arguments)
        except TypeError:
            fits = False
        if not fits:
            takes = ", ".join(inspect.signature(make).parameters)
            given = ", ".join(a.name if isinstance(a, Criterion) else f"{a:g}" for a in arguments)
            raise self._error(f"{name} takes ({takes}), got ({given})")

    def _error(self, rule: str) -> ArgumentError:
        return ArgumentError(
            f"criterion must be a name, or a wrapper around one as in flops(layer_l2(l1), 1e-8): "
            f"in '{self._text}', {rule}"
        )
