"""What the work in a folder was asked for, so that the same work can go on there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import ArgumentError
from autoprune.run.parts import name_of


def check_asked(folder: Path, kind: str, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings.

    Args:
        folder: Holds the work.
        kind: What to call it in an error, with its article.
        before: The settings recorded there.
        asked: Those given now, made by `recordable`.

    Raises:
        ArgumentError: They differ; the message names the first that does.
    """
    for name in sorted({*before, *asked}):
        old, new = (repr(d[name]) if name in d else "its default" for d in (before, asked))
        if old != new:
            raise ArgumentError(
                f"run_dir '{folder}' holds {kind} with {name}={old}, got {new}; give the same to go on, "
                "or another folder"
            )


def recordable(value: Any) -> Any:
    """A setting as it is recorded: JSON, or the name of what is none."""
    if isinstance(value, Mapping):
        return {str(key): recordable(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [recordable(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value) if isinstance(value, Path) else name_of(value)
