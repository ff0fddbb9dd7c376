"""What one forward pass of several networks takes here, for the comparison at the end of a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError

if TYPE_CHECKING:
    from torch import nn

SECONDS = 2.0
"""What the timing may take in all, about; slow networks are run less often."""
ROUNDS = (3, 30)
"""Fewest and most timed passes of each network."""


def milliseconds(
    networks: "Sequence[nn.Module]", example_inputs: Any, data: Any, latency: Path | None = None
) -> "tuple[float, ...] | None":
    """Median milliseconds of one forward pass of each, taken in turns.

    Args:
        networks: On one device; their modes are restored.
        example_inputs: What each is run on; None takes the first image of `data.train`.
        data: The splits.
        latency: A latency table, whose backend is used if it was measured here; otherwise, and where there is
            none, PyTorch as it is set up here.

    Returns:
        One number per network, or None where the networks cannot be timed.
    """
    from torch import Tensor
    from torch.utils import _pytree as pytree

    from autoprune.cli.shapes import example_inputs as from_data
    from autoprune.graph.export import device_of
    from autoprune.latency import LatencyTable, time_networks
    from autoprune.latency.profile import target_of

    device = device_of(networks[0])
    try:
        given = from_data((), data) if example_inputs is None else example_inputs
        inputs = pytree.tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, given)
        target = target_of(inputs, networks[0], "eager")
        if latency is not None:
            measured = LatencyTable.load(latency).target
            own = target_of(inputs, networks[0], measured.backend)
            target = target if own.differences(measured) else own
        once = sum(time_networks(networks, inputs, target, rounds=1, warmup=1))
        passes = 1000 * SECONDS / max(once, 1e-6)
        rounds = min(max(round(passes / 2), ROUNDS[0]), ROUNDS[1])  # every timed pass follows another one
        return tuple(time_networks(networks, inputs, target, rounds=rounds, warmup=1))
    except AutopruneError:
        return None
