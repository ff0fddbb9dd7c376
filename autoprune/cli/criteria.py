"""`autoprune criteria`: what can order units and weights."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from autoprune.criteria import Criterion

NEEDS = ("weights", "gradients", "data")


def criteria() -> None:
    """List the criteria that can order units or single weights, what each reads, and the wrappers.

    Example: `autoprune criteria`
    """
    from rich.text import Text

    from autoprune.cli.console import show
    from autoprune.criteria import CRITERIA, WRAPPERS
    from autoprune.masks import GRANULARITIES

    show(
        [
            _marks(CRITERIA),
            Text(f"Units: coupled channels. Weights, at any granularity: {', '.join(GRANULARITIES)}.\n"),
            _descriptions("What they are", {name: (name, kind) for name, kind in CRITERIA.items()}),
            _descriptions("Wrappers", {name: (_call(name, kind), kind) for name, kind in WRAPPERS.items()}),
            "A wrapper reads and scores what its criterion does. As an argument:\n"
            "--criterion 'flops(layer_l2(l1), 1e-8)'",
        ]
    )


def _marks(known: Mapping[str, "type[Criterion]"]) -> "Table":
    """Name, what is read and what can be scored, a mark each."""
    headings = ("reads\nweights", "reads\ngradients", "reads\ninput data", "scores\nunits", "scores\nweights")
    table = _table("Criteria: the higher the score, the longer it stays", "criterion")
    for heading in headings:
        table.add_column(heading, justify="center", no_wrap=True)
    for name, kind in sorted(known.items()):
        marks = [*(need in kind.needs for need in NEEDS), True, kind.elementwise]
        table.add_row(name, *("x" if mark else "" for mark in marks))
    return table


def _descriptions(title: str, rows: Mapping[str, tuple[str, "type[Criterion]"]]) -> "Table":
    """Name as it is written, what it is, source."""
    table = _table(title, "name")
    table.add_column("what it is, where it comes from")
    for _, (name, kind) in sorted(rows.items()):
        table.add_row(name, _about(kind))
    return table


def _table(title: str, first: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True, style="bold", vertical="top")
    return table


def _about(kind: "type[Criterion]") -> "Text":
    """The first paragraph of its documentation, and its source on a line of its own."""
    from rich.text import Text

    text = Text(" ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split()))
    if kind.source:
        text.append(f"\n{kind.source}", style="dim")
    return text


def _call(name: str, kind: "type[Criterion]") -> str:
    parameters: Sequence[str] = [*inspect.signature(kind).parameters]
    return f"{name}({', '.join(parameters)})"
