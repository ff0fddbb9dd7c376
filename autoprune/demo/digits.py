"""scikit-learn's digits: 1,797 real handwritten digits of 8x8 pixels, which the package brings along."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from autoprune.data import DataSplits
from autoprune.errors import ArgumentError

TRAIN, SEARCH = 900, 400
BATCH = 100


def splits(seed: int = 0) -> DataSplits:
    """The digits in three disjoint parts: 900 to train on, 400 to search with, 497 for the final report.

    Args:
        seed: Which digits go where, and the order of the training batches.

    Returns:
        Loaders of batches (images of shape (N, 1, 8, 8) with mean 0 and deviation 1, labels of shape (N,)).

    Raises:
        ArgumentError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ArgumentError("the digits need scikit-learn: pip install 'autoprune[demo]'") from error
    pixels, classes = load_digits(return_X_y=True)
    images = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.as_tensor(classes, dtype=torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    parts = order[:TRAIN], order[TRAIN : TRAIN + SEARCH], order[TRAIN + SEARCH :]
    seen = images[parts[0]]
    images = (images - seen.mean()) / seen.std()
    shuffle = torch.Generator().manual_seed(seed)
    train = DataLoader(
        TensorDataset(images[parts[0]], labels[parts[0]]), BATCH, shuffle=True, generator=shuffle
    )
    held = [DataLoader(TensorDataset(images[part], labels[part]), BATCH) for part in parts[1:]]
    return DataSplits(train, *held)
