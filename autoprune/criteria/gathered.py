"""What the calibration pass gathered for a criterion."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from autoprune.criteria.criterion import Context
from autoprune.criteria.l2 import L2
from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from autoprune.calibration import Calibration

logger = logging.getLogger(__name__)


def gathered(context: Context, criterion: str, statistic: str) -> Mapping[str, Tensor]:
    """The tensors of one statistic, by name of the group or parameter.

    Raises:
        ArgumentError: There is no calibration, or it was made without the statistic.
    """
    return calibration_of(context, criterion, f", statistics=['{statistic}']").statistic(statistic)


def calibration_of(context: Context, criterion: str, settings: str = "") -> "Calibration":
    """The calibration.

    Args:
        context: Holds it.
        criterion: Who needs it.
        settings: Further arguments with which it is to be made.

    Raises:
        ArgumentError: There is none.
    """
    if context.calibration is None:
        raise ArgumentError(
            f"criterion '{criterion}' needs calibration, got None; "
            f"pass calibration=autoprune.calibrate(graph, model, batches{settings})"
        )
    return context.calibration


def of_groups(context: Context, criterion: str, statistic: str) -> dict[str, Tensor]:
    """A statistic of units, shape (size,) by name of every prunable group.

    Units that no layer showed while the network ran (inside a fused attention, for example) get the L2 norm
    of their weights; this is logged.

    Raises:
        ArgumentError: As in `gathered`.
    """
    found = gathered(context, criterion, statistic)
    return {**norms_without(context, criterion, found), **found}


def norms_without(context: Context, criterion: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """L2 norms of the prunable groups that are not in `found`; they are logged."""
    missing = [group.name for group in context.graph.prunable if group.name not in found]
    for name in missing:
        logger.warning("no activation of group '%s' was seen for '%s': its L2 norm counts", name, criterion)
    norms = L2().scores(context) if missing else {}
    return {name: norms[name] for name in missing}
