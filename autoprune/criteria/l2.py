"""Euclidean norm of the weights."""

from typing import ClassVar

from autoprune.criteria.magnitude import Magnitude


class L2(Magnitude):
    """L2 norm of the filters that put a unit out, or of single weights."""

    name: ClassVar[str] = "l2"
    source: ClassVar[str] = "Li et al. 2017, arXiv:1608.08710, section 4.3"

    def __init__(self) -> None:
        super().__init__(2)
