"""The numbers that networks compute with while they are scored."""

from contextlib import AbstractContextManager, nullcontext

import torch

from autoprune.errors import ArgumentError

PRECISIONS = ("float32", "bfloat16", "float16")
"""The first leaves a network as it is."""


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse numbers that there are not, or not on this device.

    Raises:
        ArgumentError: An unknown name, or float16 on a CPU.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision must be one of {', '.join(PRECISIONS)}, got '{precision}'")
    if precision == "float16" and device.type != "cuda":
        raise ArgumentError(f"precision must be float32 or bfloat16 on the device {device}, got 'float16'")


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Inside this context convolutions and linear layers compute in that precision (`torch.autocast`)."""
    if precision == PRECISIONS[0]:
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))
