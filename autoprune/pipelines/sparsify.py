"""Masks at a target sparsity from the scores of a criterion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from autoprune.allocation.patterns import as_patterns, listed
from autoprune.criteria import Criterion, make_criterion
from autoprune.criteria.make import text_of
from autoprune.errors import ArgumentError, ModelError
from autoprune.masks import NM, Granularity, Masks, Units, global_masks, granularity, layer_masks
from autoprune.masks.select import check_sparsity, floating, keep_best
from autoprune.masks.targets import did_you_mean
from autoprune.pipelines.work import Work

Scope = Literal["global", "layer"]


@dataclass(frozen=True)
class Sparsifier:
    """Prunes the weights with the lowest scores; what is pruned once stays pruned.

    Tensors with too few dimensions for the granularity (a matrix has no kernels) stay whole and do not count.

    Attributes:
        criterion: Scores single weights; a name or an object.
        granularity: What stays or goes as a whole; a name ("weight", "kernel", "2:4", ...) or an object.
        scope: "layer" prunes every tensor by the same share, "global" ranks the units of all together.
        floor: Share of its units that every tensor keeps at least, and at least one: the guard against a
            layer that vanishes in a global ranking. 0 takes the guard off.
        include: Patterns of tensor names (`*` and `?`) that may be pruned.
        exclude: Patterns of tensor names that stay whole.

    Raises:
        ArgumentError: A criterion that scores whole channels only, or a value outside the rules.
    """

    criterion: str | Criterion = "l1"
    granularity: str | Granularity = "weight"
    scope: Scope = "layer"
    floor: float = 0.01
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    _parts: tuple[Criterion, Granularity] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        criterion = make_criterion(self.criterion)
        chosen = granularity(self.granularity) if isinstance(self.granularity, str) else self.granularity
        if not criterion.elementwise:
            raise ArgumentError(
                f"criterion must score single weights to make masks, but '{criterion.name}' scores "
                "whole units"
            )
        if self.scope not in ("global", "layer"):
            raise ArgumentError(f"scope must be 'global' or 'layer', got {self.scope!r}")
        if self.scope == "global" and not isinstance(chosen, Units):
            raise ArgumentError(f"scope must be 'layer' for the granularity '{chosen.name}', got 'global'")
        if not 0 <= self.floor < 1:
            raise ArgumentError(f"floor must be a share in [0, 1), got {self.floor!r}")
        for argument in ("include", "exclude"):
            object.__setattr__(self, argument, as_patterns(getattr(self, argument), argument))
        object.__setattr__(self, "_parts", (criterion, chosen))

    @property
    def settings(self) -> dict[str, object]:
        """What tells two of them apart, as JSON values."""
        chosen = self._parts[1]
        return {
            "criterion": text_of(self.criterion), "granularity": chosen.name, "scope": self.scope,
            "floor": self.floor, "include": list(self.include), "exclude": list(self.exclude),
        }  # fmt: skip

    @property
    def fixed(self) -> float | None:
        """The only sparsity that the granularity allows, None if any."""
        chosen = self._parts[1]
        return chosen.sparsity if isinstance(chosen, NM) else None

    def __call__(self, work: Work, sparsity: float) -> Masks:
        """Masks for the network as it is now, within the masks that hold already.

        Raises:
            ArgumentError: A sparsity outside 0..1 or above what the floor allows, or a pattern that no tensor
                of the network matches.
            ModelError: Nothing to prune, or scores that are not finite.
        """
        check_sparsity(sparsity)
        for argument in ("include", "exclude"):
            _check_patterns(getattr(self, argument), argument, work)
        criterion, _ = self._parts
        return self.masks(work.weight_scores(criterion), sparsity, work.state.masks)

    def masks(self, elements: dict[str, Tensor], sparsity: float, within: Masks) -> Masks:
        """Masks from scores of single weights by tensor name."""
        chosen = self._parts[1]
        scores = {name: score for name, score in elements.items() if self._takes(name, score)}
        if not scores:
            raise ModelError(
                f"the model must have weights to prune by the granularity '{chosen.name}', got none"
            )
        if self.scope == "layer":
            share = None if self.fixed is not None else sparsity
            return layer_masks(scores, share, chosen, within)
        return global_masks(self._guarded(scores, sparsity, within), sparsity, chosen, within)

    def _takes(self, name: str, score: Tensor) -> bool:
        """Whether a tensor is to be pruned, and has the dimensions that the granularity needs."""
        if not any(fnmatchcase(name, p) for p in self.include) or any(
            fnmatchcase(name, p) for p in self.exclude
        ):
            return False
        chosen = self._parts[1]
        try:
            chosen.mask(torch.zeros_like(score), self.fixed or 0.0)
        except ArgumentError:
            return False
        return True

    def _guarded(self, scores: dict[str, Tensor], sparsity: float, within: Masks) -> dict[str, Tensor]:
        """Scores with infinity at the best units of every tensor, as many as the floor asks for."""
        if self.floor == 0:
            return scores
        chosen = self._parts[1]
        assert isinstance(chosen, Units)
        guarded, units, floors = {}, 0, 0
        for name, score in scores.items():
            values = floating(score)
            alive = (
                values
                if name not in within
                else values.masked_fill(~within[name].to(values.device), -torch.inf)
            )
            pooled = chosen.pool(alive)
            least = max(1, ceil(self.floor * pooled.numel()))
            best = chosen.expand(keep_best(pooled, least), values.shape)
            guarded[name] = values.masked_fill(best, torch.inf)
            units, floors = units + pooled.numel(), floors + least
        if units - round(sparsity * units) < floors:
            raise ArgumentError(
                f"sparsity must be at most {1 - floors / units:.4f} with floor={self.floor:g} in each of "
                f"{len(scores)} tensors, got {sparsity:g}; lower the floor"
            )
        return guarded


def _check_patterns(patterns: Sequence[str], argument: str, work: Work) -> None:
    names = list(work.model.state_dict())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = [layer.weight for layer in work.graph.layers]
            hint = did_you_mean(pattern, names)
            raise ArgumentError(
                f"{argument}: no tensor matches '{pattern}'{hint}; "
                f"weights that can be pruned: {listed(known)}"
            )


def pruned_to(work: Work, sparsify: Callable[[Work, float], Masks], target: float) -> dict[str, object]:
    """Prune the network to the target, in place, and say so for the history."""
    work.state.masks = sparsify(work, target)
    work.state.masks.bake(work.model)
    return {"sparsity": work.state.masks.sparsity, "target": target}
