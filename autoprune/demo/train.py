"""A trained network for the demo, in seconds."""

from collections.abc import Callable

import torch

from autoprune.data import DataSplits
from autoprune.demo.network import DigitsNet
from autoprune.train import finetune

EPOCHS = 15


def trained(
    data: DataSplits, seed: int = 0, on_epoch: Callable[[int, float], None] | None = None
) -> DigitsNet:
    """Train a `DigitsNet` from scratch.

    Args:
        data: The digits; only `data.train` is read.
        seed: For the initial weights and the order of the images.
        on_epoch: Called after each epoch with its number (from 1) and its mean loss.

    Returns:
        The network in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitsNet()
    finetune(network, data.train, EPOCHS, lr=0.1, seed=seed, on_epoch=on_epoch)
    return network.eval()
