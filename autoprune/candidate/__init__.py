"""Candidates: one assignment of widths, made and evaluated."""

from autoprune.candidate.evaluator import CandidateEvaluator
from autoprune.score import Evaluation

__all__ = ["CandidateEvaluator", "Evaluation"]
