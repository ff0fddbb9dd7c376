"""Widths for every group without a single evaluation."""

from autoprune.allocation.explicit import explicit
from autoprune.allocation.global_ranking import global_ranking
from autoprune.allocation.greedy import greedy
from autoprune.allocation.isomorphic import isomorphic
from autoprune.allocation.restrict import restrict
from autoprune.allocation.uniform import uniform

__all__ = ["explicit", "global_ranking", "greedy", "isomorphic", "restrict", "uniform"]
