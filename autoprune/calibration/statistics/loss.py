"""What gradients are taken of."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.errors import DataError, ModelError
from autoprune.score import logits_of


def cross_entropy(outputs: Any, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the class scores in a model's outputs with class indices of shape (N,)."""
    return functional.cross_entropy(logits_of(outputs), labels)


def check_labels(outputs: Any, labels: Tensor, number: int) -> None:
    """Refuse outputs and labels that `cross_entropy` cannot take.

    Args:
        outputs: What the model returned.
        labels: Labels of the batch.
        number: Which batch it is.

    Raises:
        ModelError: The class scores do not have shape (N, classes).
        DataError: The labels are not class indices of shape (N,) in 0..classes - 1.
    """
    scores = logits_of(outputs)
    if scores.ndim != 2:
        raise ModelError(
            f"the model's class scores must have shape (N, classes), got {tuple(scores.shape)}; pass loss="
        )
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        got = f"{labels.dtype} of {tuple(labels.shape)}"
        raise DataError(
            f"labels must be class indices of shape (N,), got {got} in batch {number}; pass loss="
        )
    if int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]:
        bad = int(labels[(labels < 0) | (labels >= scores.shape[1])][0])
        raise DataError(f"labels must lie in 0..{scores.shape[1] - 1}, got {bad} in batch {number}")
