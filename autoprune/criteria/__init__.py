"""Criteria: which units of a group matter most. Higher = stays."""

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.l1 import L1
from autoprune.criteria.l2 import L2
from autoprune.criteria.obs import OBS
from autoprune.criteria.random import Random
from autoprune.criteria.rank import rank
from autoprune.criteria.registry import CRITERIA, make_criterion

__all__ = ["CRITERIA", "L1", "L2", "OBS", "Context", "Criterion", "Random", "make_criterion", "rank"]
