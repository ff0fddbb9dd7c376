"""A progress bar on stderr for a sensitivity analysis: group, ratio, what it costs, time left."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from autoprune.cli.bar import Bar
from autoprune.cli.progress import STAGES

if TYPE_CHECKING:
    from autoprune.sensitivity import Point


class PointProgress(Bar):
    """Shows an analysis as it runs; use it as a context manager around the analysis."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        super().__init__(console, quiet)
        self._total = 0
        self.begin("reading the images")

    def on_stage(self, stage: str) -> None:
        """Name the stage in front of the bar."""
        self.begin("measuring" if stage == "measure" else STAGES.get(stage, stage))

    def on_point(self, point: "Point", done: int, total: int) -> None:
        """Count one point."""
        if total != self._total:
            self._total = total
            self.begin("measuring", total, done - 1)
        cost = f"KL {point.kl:.3f}" if point.accuracy is None else f"accuracy {100 * point.accuracy:.1f}%"
        where = f"{point.group} -{100 * point.ratio:g}%: " if self.wide else ""
        self.count(done, escape(where + cost))
