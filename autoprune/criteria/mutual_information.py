"""What a unit says about the label."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import of_groups


class MutualInformation(Criterion):
    """Mutual information between a unit's mean activation in an image and the label, in nats.

    Estimated from a histogram of 8 equally full bins; see `LabelInformation`.
    """

    name: ClassVar[str] = "mutual_information"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"
    statistics: frozenset[str] = frozenset({"mutual_information"})

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Nats."""
        return of_groups(context, self.name, "mutual_information")
