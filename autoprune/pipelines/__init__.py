"""Pipelines: when to prune, how much, when to train; made of criteria, masks, schedules and a trainer.

Example:
    >>> result = iterative_magnitude(model, data, 0.9, rounds=5, epochs=2, run_dir="runs/imp")
    >>> print(result.summary())
"""

from autoprune.pipelines.at_init import at_init
from autoprune.pipelines.brain import optimal_brain
from autoprune.pipelines.gradual import gradual
from autoprune.pipelines.iterative import iterative_magnitude
from autoprune.pipelines.lottery import lottery_ticket
from autoprune.pipelines.molchanov import molchanov
from autoprune.pipelines.options import Options
from autoprune.pipelines.penalties import PENALTIES, GroupLasso, L1Penalty, ScalePenalty
from autoprune.pipelines.progress import Progress
from autoprune.pipelines.registry import PIPELINES, pipeline
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.saliency import SNIP, SynFlow
from autoprune.pipelines.sparse_training import sparse_training
from autoprune.pipelines.sparsify import Sparsifier
from autoprune.pipelines.surgeon import Surgeon

__all__ = [
    "PENALTIES",
    "PIPELINES",
    "SNIP",
    "GroupLasso",
    "L1Penalty",
    "Options",
    "PipelineResult",
    "Progress",
    "ScalePenalty",
    "Sparsifier",
    "Surgeon",
    "SynFlow",
    "at_init",
    "gradual",
    "iterative_magnitude",
    "lottery_ticket",
    "molchanov",
    "optimal_brain",
    "pipeline",
    "sparse_training",
]
