"""Mutual information by nearest neighbors, which needs all images at once."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoprune.calibration import calibrate
from autoprune.calibration.statistics import LabelInformation
from autoprune.criteria.criterion import Context
from autoprune.errors import ArgumentError


def check_library(criterion: str) -> None:
    """Refuse a criterion that needs scikit-learn where there is none.

    Raises:
        ArgumentError: scikit-learn is not installed.
    """
    try:
        import sklearn.feature_selection  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"criterion '{criterion}' needs scikit-learn: pip install scikit-learn; "
            "'mutual_information' does without"
        ) from error


def information_by_neighbors(context: Context, batches: Iterable[Any], neighbors: int) -> dict[str, Tensor]:
    """Nats per unit, shape (size,), of the groups that layers showed while the network ran.

    Args:
        context: Graph, network and source of randomness.
        batches: Images with labels.
        neighbors: Which neighbor's distance counts.

    Raises:
        DataError: No images, or no labels.
    """
    seed = int(torch.randint(2**31, (), generator=context.generator))
    statistic = _ByNeighbors(neighbors, seed)
    found = calibrate(context.graph, context.model, batches, positions=1, statistics=[statistic])
    return dict(found.statistic(statistic.name))


class _ByNeighbors(LabelInformation):
    """The same values per image and unit, another estimator."""

    name: ClassVar[str] = "mutual_information"

    def __init__(self, neighbors: int, seed: int) -> None:
        super().__init__()
        self._neighbors, self._seed = neighbors, seed

    def result(self) -> dict[str, Tensor]:
        """Nats per unit, shape (size,)."""
        labels = torch.cat(self._labels).numpy()
        return {
            group: torch.from_numpy(self._estimated(torch.cat(means).double().numpy(), labels))
            for group, means in self._means.items()
        }

    def _estimated(self, means: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        from sklearn import config_context
        from sklearn.feature_selection import mutual_info_classif

        settings = {"discrete_features": False, "n_neighbors": self._neighbors, "random_state": self._seed}
        with config_context(assume_finite=True, skip_parameter_validation=True):
            found: NDArray[np.float64] = mutual_info_classif(means, labels, **settings)
        return found
