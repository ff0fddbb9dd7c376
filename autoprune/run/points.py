"""The file in which a sensitivity analysis keeps its points, so that it can be continued."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import RunError
from autoprune.run.stored import read_stored, write_stored, written_to
from autoprune.sensitivity import Key, Metrics

VERSION = 1


class PointsFile:
    """Points in one JSON file that is complete at any time; without a path they are kept in memory alone.

    Args:
        path: The file; read if it exists.
        identity: What the points depend on, JSON values by name.

    Raises:
        RunError: The file is damaged, of another format, or its points were measured under another identity;
            the message names the first difference.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self._path = path
        self._identity = dict(identity)
        self._points: dict[Key, Metrics] = {}
        if path is not None and path.exists():
            self._points = _read(path, self._identity)

    @property
    def points(self) -> Mapping[Key, Metrics]:
        """All metrics by group and width."""
        return self._points

    def record(self, key: Key, metrics: Metrics) -> None:
        """Add a point and write the file.

        Raises:
            RunError: The file cannot be written.
        """
        self._points[key] = dict(metrics)
        if self._path is None:
            return
        points = [{"group": group, "width": width, **found} for (group, width), found in self._points.items()]
        body = {"version": VERSION, "identity": self._identity, "points": points}
        with written_to(self._path, "name another path"):
            write_stored(self._path, body)


def _read(path: Path, identity: dict[str, Any]) -> dict[Key, Metrics]:
    body = read_stored(path)
    if body.get("version") != VERSION or not isinstance(body.get("identity"), dict):
        raise RunError(f"'{path}' must hold the points of a sensitivity analysis (version {VERSION})")
    recorded = body["identity"]
    for name in {**identity, **recorded}:
        if recorded.get(name) != identity.get(name):
            raise RunError(
                f"'{path}' holds points of another analysis: its {name} is {recorded.get(name)!r}, "
                f"now it is {identity.get(name)!r}; name another path"
            )
    return {
        (point["group"], point["width"]): {k: v for k, v in point.items() if k not in ("group", "width")}
        for point in body["points"]
    }
