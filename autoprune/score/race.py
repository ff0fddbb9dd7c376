"""Candidates that are clearly worse than a reference are not scored on all images."""

from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.score.evaluation import Evaluation
from autoprune.score.images import WORST
from autoprune.score.looks import LEVEL, looks, worse
from autoprune.score.scores import Score, Values

_ByImage: TypeAlias = Mapping[str, Tensor]


class Raced(Score):
    """Another score, from as many images as it takes to see that a candidate is worse than a reference.

    A candidate runs on 64, 128, 256, ... of the images (`looks`). At each look, a paired one-sided t test of
    the differences per image decides whether the candidate is worse than the reference. Its level is shared
    equally by the looks (Bonferroni), so that a candidate as good as the reference is stopped with at most
    the probability `level`, as far as a mean over 64 images is normal. The reference is fixed beforehand:
    what a candidate is worth depends on nothing that was scored before, as workers and resumed searches need
    it. Races among candidates (Hoeffding races, Maron and Moore, NIPS 1993) would depend on it.

    The value of a stopped candidate is an estimate: of every metric, the reference's mean over all images
    plus the mean difference on the images that were seen. That varies less than the candidate's own mean over
    them and is unbiased but for the stopping itself, which comes rather where the difference looks large. It
    is below the reference's score by construction. `metrics["images"]` says how many images were seen.

    The first images must be a random part of all: see `shuffle` of `SearchImages`.

    Args:
        score: What a candidate is worth on all images: its metrics are means over images, and it is linear in
            them.
        level: Of all looks at one candidate together.
        cut: Whether candidates take batches of any size.

    Attributes:
        looks: After how many images a candidate may be stopped.

    Raises:
        ArgumentError: `level` not between 0 and 0.5.
    """

    name = "raced"
    worst = -WORST

    def __init__(self, score: Score, *, level: float = LEVEL, cut: bool = True) -> None:
        super().__init__(score.images)
        if not 0 < level < 0.5:
            raise ArgumentError(f"level must lie in (0, 0.5), got {level}")
        self._score = score
        self.looks = looks(list(accumulate(batch.size for batch in score.images.batches)), cut=cut)
        self._level = level / max(len(self.looks), 1)
        self._reference: _ByImage = {}

    def refer_to(self, candidate: nn.Module) -> Evaluation:
        """Take a network as the reference, and score it on all images."""
        *_, self._reference = self._growing(candidate)
        return self._whole(self._reference)

    def __call__(self, candidate: nn.Module) -> Evaluation:
        """Score a candidate on as many images as it takes.

        Raises:
            ArgumentError: There is no reference yet.
        """
        if not self._reference:
            raise ArgumentError("refer_to must be called before a candidate is raced, there is no reference")
        seen: _ByImage = {}
        for count, seen in zip((*self.looks, self.images.count), self._growing(candidate), strict=True):
            before = {name: values[:count] for name, values in self._reference.items()}
            lost = self._value(before) - self._value(seen)
            if count < self.images.count and worse(lost, self._level):
                return self._estimate(seen, count)
        return self._whole(seen)

    def _growing(self, candidate: nn.Module) -> Iterator[_ByImage]:
        """All metrics image by image at every look, and then of all images."""
        seen: dict[str, Tensor] = {}
        for start, end in pairwise((0, *self.looks, self.images.count)):
            part = self.images.by_image(candidate, start, end)
            seen = {name: torch.cat([seen[name], part[name]]) if seen else part[name] for name in part}
            yield seen

    def _whole(self, seen: _ByImage) -> Evaluation:
        metrics = {name: float(values.mean()) for name, values in seen.items()}
        return Evaluation(self._value(metrics), metrics | {"images": float(self.images.count)})

    def _estimate(self, seen: _ByImage, count: int) -> Evaluation:
        metrics: dict[str, float] = {}
        for name, reference in self._reference.items():
            estimate = float(reference.mean() + (seen[name] - reference[:count]).mean())
            metrics[name] = min(max(estimate, 0.0), 1.0 if name == "accuracy" else WORST)
        return Evaluation(self._value(metrics), metrics | {"images": float(count)})

    def _value(self, metrics: Mapping[str, Values]) -> Values:
        return self._score._value(metrics)
