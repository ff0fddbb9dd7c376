"""Memory order of tensors."""

import torch
from torch import Tensor


def in_order_of(dense: Tensor, data: Tensor) -> Tensor:
    """`data`, in channels-last order if `dense` is."""
    for ndim, order in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if dense.ndim == ndim and dense.is_contiguous(memory_format=order) and not dense.is_contiguous():
            return data.contiguous(memory_format=order)
    return data
