"""What pruning one group alone costs, measured, beside what the reconstruction error says for free."""

from autoprune.sensitivity.correlation import spearman
from autoprune.sensitivity.point import Key, Metrics, Point
from autoprune.sensitivity.result import Sensitivity

__all__ = ["Key", "Metrics", "Point", "Sensitivity", "spearman"]
