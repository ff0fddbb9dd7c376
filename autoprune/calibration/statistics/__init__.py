"""Statistics of activations and gradients, gathered in the calibration pass."""

from autoprune.calibration.statistics.gather import Gatherer
from autoprune.calibration.statistics.gradients import GradientStatistic
from autoprune.calibration.statistics.hessian import HessianDiagonal
from autoprune.calibration.statistics.loss import cross_entropy
from autoprune.calibration.statistics.mutual_information import LabelInformation
from autoprune.calibration.statistics.registry import STATISTICS, make_statistics
from autoprune.calibration.statistics.statistic import Loss, Statistic, Subject
from autoprune.calibration.statistics.units import UnitStatistic

__all__ = [
    "STATISTICS",
    "Gatherer",
    "GradientStatistic",
    "HessianDiagonal",
    "LabelInformation",
    "Loss",
    "Statistic",
    "Subject",
    "UnitStatistic",
    "cross_entropy",
    "make_statistics",
]
