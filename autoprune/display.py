"""What a result shows of itself at the prompt and in a notebook."""

from collections.abc import Sequence
from html import escape


class Shown:
    """Shows its text at the prompt, and the same, with aligned columns, in a notebook.

    A dataclass that inherits from it must be made with `repr=False`.
    """

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def number(value: float) -> str:
    """A cost: counts with separators, all else with three decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"


def beside(value: float, dense: float) -> str:
    """A cost with its share of the dense one."""
    return f"{number(value)} ({100 * value / dense:.1f}%)" if dense else number(value)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as lines, every column as wide as it must be."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
