"""Criteria by name."""

from difflib import get_close_matches

from autoprune.criteria.criterion import Criterion
from autoprune.criteria.l1 import L1
from autoprune.criteria.l2 import L2
from autoprune.criteria.obs import OBS
from autoprune.criteria.random import Random
from autoprune.errors import ArgumentError

CRITERIA: dict[str, type[Criterion]] = {c.name: c for c in (L1, L2, OBS, Random)}


def make_criterion(criterion: str | Criterion) -> Criterion:
    """A criterion by name, or the given object.

    Raises:
        ArgumentError: No criterion of that name.
    """
    if isinstance(criterion, Criterion):
        return criterion
    if criterion not in CRITERIA:
        near = get_close_matches(criterion, CRITERIA, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(f"criterion must be one of {', '.join(CRITERIA)}, got '{criterion}'{hint}")
    return CRITERIA[criterion]()
