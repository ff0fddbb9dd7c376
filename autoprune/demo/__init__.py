"""The demo: scikit-learn's digits, a small network trained on the spot, a search, and a comparison."""

from autoprune.demo.digits import splits
from autoprune.demo.network import DigitsNet
from autoprune.demo.train import trained

__all__ = ["DigitsNet", "splits", "trained"]
