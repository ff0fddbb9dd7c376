"""Scores: what a candidate is worth on the search images."""

from autoprune.score.evaluation import Evaluation
from autoprune.score.images import WORST, SearchImages, logits_of
from autoprune.score.race import Raced
from autoprune.score.scores import KL, Accuracy, Score

__all__ = ["KL", "WORST", "Accuracy", "Evaluation", "Raced", "Score", "SearchImages", "logits_of"]
