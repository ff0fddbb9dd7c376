"""Densities in, value out: mask, recalibrate batch norm, score."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from autoprune.errors import ArgumentError
from autoprune.finegrained.levels import Levels
from autoprune.graph.export import unwrap
from autoprune.masks import Masks
from autoprune.score import Evaluation, Score


class MaskEvaluator:
    """Evaluates masked copies of one network; the value depends on the widths alone.

    Args:
        model: The dense network, in any mode; untouched.
        levels: Of every weight that may be pruned, by name.
        score: What a candidate is worth.
        bn_inputs: Batches on which batch-norm statistics are estimated anew for every candidate; None keeps
            the dense network's.
    """

    def __init__(
        self,
        model: nn.Module,
        levels: Mapping[str, Levels],
        score: Score,
        bn_inputs: Iterable[Any] | None = None,
    ) -> None:
        self._levels, self._score = levels, score
        self._copy = copy.deepcopy(unwrap(model)).eval()
        self._dense = {name: tensor.clone() for name, tensor in self._copy.state_dict().items()}
        self._bn_inputs = None if bn_inputs is None else list(bn_inputs)

    def masks(self, widths: Mapping[str, int]) -> Masks:
        """The masks of a candidate; layers that are missing from `widths` stay whole.

        Raises:
            ArgumentError: An unknown layer, or a width outside 1..size.
        """
        for name, width in widths.items():
            if name not in self._levels:
                raise ArgumentError(f"widths names '{name}', which is no weight that may be pruned")
            if not 1 <= width <= self._levels[name].size:
                raise ArgumentError(f"widths['{name}'] must lie in 1..{self._levels[name].size}, got {width}")
        return Masks({name: self._levels[name].mask(width) for name, width in widths.items()})

    def build(self, widths: Mapping[str, int]) -> nn.Module:
        """The candidate in eval mode, valid until the next call.

        Raises:
            ArgumentError: As `masks`.
        """
        masks = self.masks(widths)
        self._copy.load_state_dict(self._dense)
        masks.bake(self._copy)
        if self._bn_inputs is not None:
            from autoprune.calibration import recalibrate_bn

            recalibrate_bn(self._copy, self._bn_inputs)
        return self._copy

    def __call__(self, widths: Mapping[str, int]) -> Evaluation:
        """Make the candidate and score it.

        Raises:
            ArgumentError: As `masks`.
        """
        return self._score(self.build(widths))
