"""How far the outputs move."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.removal import removals


class KLDivergence(Criterion):
    """Mean of KL(dense || network without the unit) between the class distributions, in nats per image.

    Runs the network once per unit over `Context.batches`; needs no labels.
    """

    name: ClassVar[str] = "kl_divergence"
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "data"})
    source: ClassVar[str] = "Luo and Wu 2019, arXiv:1911.08114"
    runs: ClassVar[bool] = True

    def scores(self, context: Context) -> dict[str, Tensor]:
        """The divergence when the unit alone is removed.

        Raises:
            ArgumentError: The context has no batches.
            DataError: No images.
        """
        return removals(context, self.name, "kl")
