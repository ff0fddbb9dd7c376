"""Candidates: one assignment of widths, made and evaluated."""

from autoprune.candidate.evaluator import CandidateEvaluator
from autoprune.candidate.workers import Workers
from autoprune.score import Evaluation

__all__ = ["CandidateEvaluator", "Evaluation", "Workers"]
