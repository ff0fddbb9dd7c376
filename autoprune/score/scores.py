"""What a search maximizes, from one forward pass of a candidate over the search images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from autoprune.errors import DataError
from autoprune.score.evaluation import Evaluation
from autoprune.score.images import WORST, SearchImages

Values = TypeVar("Values", float, Tensor)
"""One number, or one for each image."""


class Score(ABC):
    """The value of a candidate; higher is better.

    Attributes:
        name: Short name.
        worst: The lowest score there is; a candidate whose outputs are all NaN has it.

    Args:
        images: The search images.
    """

    name: ClassVar[str]
    worst: ClassVar[float]

    def __init__(self, images: SearchImages) -> None:
        self.images = images

    def __call__(self, candidate: nn.Module) -> Evaluation:
        """Evaluate a candidate (in eval mode, on the device of the images): one forward pass, all metrics."""
        metrics = self.images.measure(candidate)
        return Evaluation(self._value(metrics), metrics)

    @abstractmethod
    def _value(self, metrics: Mapping[str, Values]) -> Values:
        """The score as a function of the metrics, of all images or image by image."""


class KL(Score):
    """Minus the mean of KL(dense || candidate) over the images, softened as in `SearchImages`.

    In nats per image; needs no labels. It lies in [-100, 0]: one image counts at most 100 nats, which is also
    what outputs count that are not finite. Its variance per image is far below that of the accuracy.
    """

    name = "kl"
    worst = -WORST

    def _value(self, metrics: Mapping[str, Values]) -> Values:
        return -metrics["kl"]


class Accuracy(Score):
    """Top-1 accuracy on the images, a share in [0, 1]; outputs that are not finite count as wrong.

    Raises:
        DataError: The images have no labels.
    """

    name = "accuracy"
    worst = 0.0

    def __init__(self, images: SearchImages) -> None:
        if not images.labeled:
            raise DataError(
                "the accuracy score needs labels; give (inputs, labels) batches, or use the kl score"
            )
        super().__init__(images)

    def _value(self, metrics: Mapping[str, Values]) -> Values:
        return metrics["accuracy"]
