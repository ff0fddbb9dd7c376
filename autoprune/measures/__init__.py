"""Measures: what pruning took away, per layer and in total."""

from autoprune.measures.macs import count_macs
from autoprune.measures.measure import measure
from autoprune.measures.report import Measured, Measures

__all__ = ["Measured", "Measures", "count_macs", "measure"]
