"""Random states that belong to one agent."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """The state of a generator as a JSON value."""
    return dict(generator.bit_generator.state)


def generator_from(state: dict[str, Any]) -> np.random.Generator:
    """A generator that continues from `generator_state`."""
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator


@contextmanager
def local_torch(seed: int | None = None) -> Iterator[None]:
    """Put torch's global random state back at the end, whatever is drawn inside.

    Args:
        seed: Start inside from this seed; from the present state if None.
    """
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield
