"""A progress bar on stderr for a sensitivity analysis: group, ratio, what it costs, time left."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from autoprune.cli.bar import CountedBar
from autoprune.cli.progress import STAGES

if TYPE_CHECKING:
    from autoprune.sensitivity import Point


class PointProgress(CountedBar):
    """Shows an analysis as it runs; use it as a context manager around the analysis."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        super().__init__(console, quiet)
        self._task = self._bar.add_task("reading the images", total=None, note="")

    def on_stage(self, stage: str) -> None:
        """Name the stage in front of the bar."""
        self._bar.update(
            self._task, description="measuring" if stage == "measure" else STAGES.get(stage, stage)
        )

    def on_point(self, point: "Point", done: int, total: int) -> None:
        """Count one point."""
        cost = f"KL {point.kl:.3f}" if point.accuracy is None else f"accuracy {100 * point.accuracy:.1f}%"
        latest = escape(f"{point.group} -{100 * point.ratio:g}%: {cost}")
        self._bar.update(self._task, completed=done, total=total, note=latest)
