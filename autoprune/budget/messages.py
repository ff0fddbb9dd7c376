"""Pieces of error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Complete a message about an unknown name: `; did you mean 'macs'? (known: macs, params)`."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"; {hint}(known: {', '.join(names)})"


def show(value: float) -> str:
    """A cost for a message: counts in full, measured values with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
