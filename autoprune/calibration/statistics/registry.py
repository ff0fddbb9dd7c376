"""Statistics by name."""

from collections.abc import Iterable
from difflib import get_close_matches

from autoprune.calibration.statistics.activation import MeanActivation
from autoprune.calibration.statistics.gradient import MeanGradient
from autoprune.calibration.statistics.gradient_abs import AbsoluteGradient
from autoprune.calibration.statistics.gradient_square import SquaredGradient
from autoprune.calibration.statistics.hessian import HessianDiagonal
from autoprune.calibration.statistics.input_square import InputSquare
from autoprune.calibration.statistics.mutual_information import LabelInformation
from autoprune.calibration.statistics.nonzero import NonZero
from autoprune.calibration.statistics.statistic import Statistic
from autoprune.calibration.statistics.taylor_activation import ActivationTaylor
from autoprune.errors import ArgumentError

STATISTICS: dict[str, type[Statistic]] = {
    s.name: s
    for s in (
        MeanActivation,
        MeanGradient,
        AbsoluteGradient,
        SquaredGradient,
        HessianDiagonal,
        InputSquare,
        LabelInformation,
        NonZero,
        ActivationTaylor,
    )
}


def make_statistics(statistics: Iterable[str | Statistic]) -> list[Statistic]:
    """Statistics by name, or the given objects; a name that comes twice is made once.

    Raises:
        ArgumentError: An unknown name (the message has the nearest), or two objects of one name.
    """
    result: dict[str, Statistic] = {}
    for one in [statistics] if isinstance(statistics, str) else statistics:
        if isinstance(one, Statistic):
            if one.name in result:
                raise ArgumentError(f"statistics must have different names, got '{one.name}' twice")
            result[one.name] = one
        elif one not in result:
            result[one] = _named(one)()
    return list(result.values())


def _named(name: str) -> type[Statistic]:
    if name not in STATISTICS:
        near = get_close_matches(name, STATISTICS, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(f"statistics must be among {', '.join(STATISTICS)}, got '{name}'{hint}")
    return STATISTICS[name]
