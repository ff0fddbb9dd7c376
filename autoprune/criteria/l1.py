"""Sum of absolute weights."""

from typing import ClassVar

from autoprune.criteria.magnitude import Magnitude


class L1(Magnitude):
    """L1 norm of the filters that put a unit out, or of single weights."""

    name: ClassVar[str] = "l1"
    source: ClassVar[str] = "Li et al. 2017, arXiv:1608.08710, section 3.1"

    def __init__(self) -> None:
        super().__init__(1)
