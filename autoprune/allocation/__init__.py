"""Widths for every group without a single evaluation."""

from autoprune.allocation.greedy import greedy
from autoprune.allocation.uniform import uniform

__all__ = ["greedy", "uniform"]
