"""JSON files that know when they were damaged."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from autoprune.errors import RunError
from autoprune.files import write_text

Record = TypeVar("Record", bound=BaseModel)


def write_stored(path: Path, body: dict[str, Any]) -> None:
    """Write `body` with its checksum in one step.

    Raises:
        TypeError: `body` is not JSON.
        OSError: The file cannot be written.
    """
    text = json.dumps({"sha256": _checksum(body), "body": body}, indent=1)
    write_text(path, text + "\n")


def read_stored(path: Path) -> dict[str, Any]:
    """Read what `write_stored` wrote.

    Raises:
        RunError: The file is missing, cut short or changed.
    """
    try:
        outer = json.loads(path.read_text(encoding="utf-8"))
        body, checksum = outer["body"], outer["sha256"]
    except OSError as error:
        raise RunError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{path}' is damaged: it is not the JSON that autoprune writes ({error})") from error
    if not isinstance(body, dict) or _checksum(body) != checksum:
        raise RunError(f"'{path}' is damaged or was edited: its checksum does not match")
    return body


def validated(kind: type[Record], path: Path, body: dict[str, Any]) -> Record:
    """What was read from `path`, as the record that it must be.

    Raises:
        RunError: It is one of another version.
    """
    try:
        return kind.model_validate_json(json.dumps(body))  # in JSON a tuple is a list
    except ValidationError as error:
        problem: Any = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise RunError(
            f"'{path}' cannot be used by this version of autoprune: {where}: {problem['msg']}"
        ) from error


@contextmanager
def written_to(path: Path, hint: str) -> Iterator[None]:
    """Turn a failed write below `path` into a `RunError` that ends with `hint`."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write to '{path}': {error.strerror or error}; {hint}") from error


def _checksum(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
