"""A chart and its views."""

from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class View:
    """One way to look at a chart.

    Attributes:
        label: What the list of views calls it.
        data: Plotly's traces.
        layout: Plotly's layout.
    """

    label: str
    data: list[Spec]
    layout: Spec

    def spec(self) -> Spec:
        """As JSON values."""
        return {"label": self.label, "data": self.data, "layout": self.layout}


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes:
        name: Identifier in the page.
        title: Heading.
        how: How to read it, one or two sentences.
        words: What it shows here, for those who cannot see it.
        views: At least one; the first is shown.
    """

    name: str
    title: str
    how: str
    words: str
    views: tuple[View, ...]
