"""One pass over some data, and what it lets a candidate do: least squares, curves, statistics."""

from autoprune.calibration.batchnorm import recalibrate_bn
from autoprune.calibration.calibrate import calibrate
from autoprune.calibration.calibration import Calibration
from autoprune.calibration.curves import sensitivity_curves
from autoprune.calibration.moments import Moment
from autoprune.calibration.reconstruct import Reconstruction, reconstruct
from autoprune.calibration.refit import Refit, refit
from autoprune.calibration.statistics import STATISTICS, Loss, Statistic

__all__ = [
    "STATISTICS",
    "Calibration",
    "Loss",
    "Moment",
    "Reconstruction",
    "Refit",
    "Statistic",
    "calibrate",
    "recalibrate_bn",
    "reconstruct",
    "refit",
    "sensitivity_curves",
]
