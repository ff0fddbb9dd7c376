"""The exact change in loss."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.removal import removals


class Oracle(Criterion):
    """Change in the mean cross-entropy when the unit alone is removed, exactly, in nats per image.

    Runs the network once per unit over `Context.batches`; the yardstick for all other criteria. The change
    is signed: a unit whose removal lowers the loss scores below 0.
    """

    name: ClassVar[str] = "oracle"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "data"})
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"
    runs: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Loss without the unit minus the dense loss.

        Raises:
            ArgumentError: The context has no batches.
            DataError: No images, or no labels.
        """
        return removals(context, self.name, "loss", labels=True)
