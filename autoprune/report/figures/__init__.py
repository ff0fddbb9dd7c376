"""The charts of a report, as the JSON that Plotly draws; no library is needed to make them."""

from autoprune.report.figures.chart import Chart, View
from autoprune.report.figures.curves import curves
from autoprune.report.figures.learning import learning
from autoprune.report.figures.pareto import front, pareto
from autoprune.report.figures.ratios import ratios
from autoprune.report.figures.widths import widths

CHARTS = (learning, widths, ratios, curves, pareto)
"""In the order of the page; each makes a `Chart` from a run."""

__all__ = ["CHARTS", "Chart", "View", "curves", "front", "learning", "pareto", "ratios", "widths"]
