"""Granularities by name, for the command line and files."""

import re

from autoprune.errors import ArgumentError
from autoprune.masks.block import Block
from autoprune.masks.granularity import Channel, Column, Filter, Granularity, Kernel, Row, Weight
from autoprune.masks.nm import NM, WindowedNM
from autoprune.masks.targets import did_you_mean

_PLAIN: tuple[Granularity, ...] = (Weight(), Row(), Column(), Kernel(), Filter(), Channel())
_PATTERNS = ("RxC (blocks, 4x4)", "N:M (2:4)", "n:M (N chosen by the sparsity, n:4)")

GRANULARITIES: tuple[str, ...] = (*(g.name for g in _PLAIN), *_PATTERNS)
"""What `granularity` understands: names, and forms with an example."""


def granularity(name: str) -> Granularity:
    """The granularity of that name, one of `GRANULARITIES`.

    Raises:
        ArgumentError: An unknown name, N > M, or a zero; the message names the nearest and all there are.
    """
    text = name.strip().lower()
    for plain in _PLAIN:
        if plain.name == text:
            return plain
    if numbers := re.fullmatch(r"(\d+)x(\d+)", text):
        return Block(int(numbers[1]), int(numbers[2]))
    if numbers := re.fullmatch(r"(\d+):(\d+)", text):
        return NM(int(numbers[1]), int(numbers[2]))
    if numbers := re.fullmatch(r"n:(\d+)", text):
        return WindowedNM(int(numbers[1]))
    hint = did_you_mean(text, (*(g.name for g in _PLAIN), "2:4", "n:4", "4x4"))
    raise ArgumentError(f"there is no granularity '{name}'{hint}; there are: {', '.join(GRANULARITIES)}")
