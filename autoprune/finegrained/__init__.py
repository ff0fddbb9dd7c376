"""Fine-grained pruning in the search's own terms: one layer is one group, its density is the width."""

from autoprune.finegrained.evaluator import MaskEvaluator
from autoprune.finegrained.levels import Levels
from autoprune.finegrained.problem import FineGrained, fine_grained

__all__ = ["FineGrained", "Levels", "MaskEvaluator", "fine_grained"]
