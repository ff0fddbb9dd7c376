"""The result of a sensitivity analysis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.display import Shown
from autoprune.files import StrPath, write_text
from autoprune.sensitivity.correlation import spearman
from autoprune.sensitivity.point import FREE, Metrics, Point
from autoprune.sensitivity.text import csv_text, table_text


@dataclass(frozen=True, repr=False)
class Sensitivity(Shown):
    """How much a network suffers when one group alone is pruned; printing it gives a table.

    Attributes:
        points: By group in network order, then by rising pruning ratio.
        dense: Metrics of the dense network on the same images.
        settings: What the points depend on: criterion, reconstruction, numbers of images, seed.
    """

    points: tuple[Point, ...]
    dense: Metrics
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the measured groups, in network order."""
        return tuple(dict.fromkeys(point.group for point in self.points))

    @property
    def ratios(self) -> tuple[float, ...]:
        """The pruning ratios, rising."""
        return tuple(sorted({point.ratio for point in self.points}))

    @property
    def labeled(self) -> bool:
        """Whether accuracy and loss were measured."""
        return "accuracy" in self.dense

    @property
    def metric(self) -> str:
        """What table and plot show by default: `accuracy`, or `kl` without labels."""
        return "accuracy" if self.labeled else "kl"

    def of(self, group: str) -> tuple[Point, ...]:
        """The points of one group, by rising pruning ratio.

        Raises:
            KeyError: The group was not measured.
        """
        if group not in self.groups:
            raise KeyError(group)
        return tuple(point for point in self.points if point.group == group)

    def correlation(self, group: str | None = None, metric: str = "kl") -> float:
        """Spearman's correlation of the free reconstruction error with what was measured.

        Widths that several ratios share count once.

        Args:
            group: One group; None takes the points of all groups together.
            metric: `kl` or `loss` (1 is best), or `accuracy` (-1 is best).

        Returns:
            -1 to 1, or nan where there are fewer than two different values.

        Raises:
            ArgumentError: An unknown metric, or one that needs labels where there are none.
            KeyError: The group was not measured.
        """
        points = {p.key: p for p in (self.points if group is None else self.of(group))}.values()
        return spearman([p.value(FREE) for p in points], [p.value(metric) for p in points])

    def correlations(self, metric: str = "kl") -> dict[str, float]:
        """`correlation` of every group."""
        return {group: self.correlation(group, metric) for group in self.groups}

    def table(self, metric: str | None = None) -> str:
        """Plain text: one row per group, one column per pruning ratio, and the correlation of the free curve.

        Args:
            metric: `accuracy`, `loss`, `kl` or `error`; None takes `accuracy`, or `kl` without labels.

        Raises:
            ArgumentError: An unknown metric, or one that needs labels where there are none.
        """
        return table_text(self, metric or self.metric)

    def to_csv(self, path: StrPath) -> None:
        """Write one line per point: group, size, ratio, width, accuracy, loss, kl, error.

        Raises:
            OSError: The file cannot be written.
        """
        write_text(path, csv_text(self.points))

    def plot(self, path: StrPath, metric: str | None = None) -> None:
        """Draw two heat maps, groups by pruning ratios: what was measured, and the free curves.

        Args:
            path: The picture; its suffix (.png, .svg, .pdf) says the format.
            metric: As in `table`.

        Raises:
            ArgumentError: matplotlib is not installed, an unknown metric or a suffix that it does not write.
            OSError: The file cannot be written.
        """
        from autoprune.sensitivity.plot import draw

        draw(self, path, metric or self.metric)

    def __str__(self) -> str:
        return self.table()
