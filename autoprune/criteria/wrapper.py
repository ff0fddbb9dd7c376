"""Criteria that change the scores of another one."""

from collections.abc import Mapping
from typing import ClassVar

from autoprune.criteria.criterion import Criterion
from autoprune.errors import ArgumentError


class Wrapper(Criterion):
    """Changes the scores of a criterion; what that one needs, it needs too.

    Its name holds that of the criterion: `layer_l2(taylor)`.

    Args:
        criterion: What scores; may be a wrapper itself.

    Raises:
        ArgumentError: Not a criterion.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, criterion: Criterion) -> None:
        if not isinstance(criterion, Criterion):
            raise ArgumentError(f"criterion must be a Criterion object to wrap, got {criterion!r}")
        self.criterion = criterion
        self.statistics = criterion.statistics
        forwarded: Mapping[str, object] = {
            "name": f"{type(self).name}({criterion.name})",
            "needs": criterion.needs,
            "runs": criterion.runs,
            "elementwise": criterion.elementwise,
        }
        # What is a constant of the class for a criterion follows the wrapped one here.
        vars(self).update(forwarded)
