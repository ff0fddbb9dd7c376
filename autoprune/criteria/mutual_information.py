"""What a unit says about the label."""

from typing import ClassVar

from torch import Tensor

from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.gathered import norms_without, of_groups
from autoprune.criteria.neighbors import check_library, information_by_neighbors
from autoprune.errors import ArgumentError


class MutualInformation(Criterion):
    """Nats that a unit's mean activation in an image and the label have in common, by bins or by neighbors.

    Estimated from a histogram of 8 equally full bins; see `LabelInformation`. Or, with `neighbors`, from the
    distances to the k-th nearest neighbor of the same label (Ross 2014, doi:10.1371/journal.pone.0087357) by
    scikit-learn's `mutual_info_classif`. That estimator needs all images at once: it is not gathered in the
    calibration pass, but reads the images by itself and keeps one number per image and unit; it takes about
    6 ms per unit.

    Args:
        neighbors: k; 3 is usual. 0 takes the histogram.

    Raises:
        ArgumentError: k is no whole number of at least 0, or scikit-learn is not installed.
    """

    name: ClassVar[str] = "mutual_information"
    needs: ClassVar[frozenset[str]] = frozenset({"data"})
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv:1611.06440"
    statistics: frozenset[str] = frozenset({"mutual_information"})

    def __init__(self, neighbors: int = 0) -> None:
        if isinstance(neighbors, bool) or not float(neighbors).is_integer() or neighbors < 0:
            raise ArgumentError(f"neighbors must be a whole number of at least 0, got {neighbors!r}")
        self.neighbors = int(neighbors)
        if self.neighbors:
            name = f"{self.name}({self.neighbors})"
            check_library(name)
            self.statistics = frozenset()
            # What is a constant of the class for the histogram is another one here.
            vars(self).update(name=name, runs=True)

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Nats.

        Raises:
            ArgumentError: Nothing was gathered, or with `neighbors`, the context has no batches.
            DataError: With `neighbors`, no images or no labels.
        """
        if not self.neighbors:
            return of_groups(context, self.name, "mutual_information")
        if context.batches is None:
            raise ArgumentError(f"criterion '{self.name}' runs the network and needs batches, got None")
        found = information_by_neighbors(context, context.batches, self.neighbors)
        return {**norms_without(context, self.name, found), **found}
