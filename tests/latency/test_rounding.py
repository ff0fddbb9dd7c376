"""Channel multiples read off a table, against devices whose steps are known."""

import numpy as np
import pytest

from autoprune.latency import LatencyCost, LatencyTable, Target, channel_multiples, requests_of
from tests.latency.test_table import segments


def cost_of(step: int, noise: float, seed: int = 0) -> tuple[LatencyCost, tuple[int, ...]]:
    """A device that computes whole blocks of `step` channels of every variable."""
    graph, found = segments("residual")
    rng = np.random.default_rng(seed)
    requests = requests_of(found, Target.here(), points=80)
    layers = [
        (
            wanted.template,
            {
                at: wanted.template.work(tuple(-(-v // step) * step for v in at)) * (1 + noise * rng.random())
                for at in wanted.points
            },
        )
        for wanted in requests.layers
    ]
    return LatencyCost(found, LatencyTable.of(requests.target, layers)), tuple(g.size for g in graph.prunable)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_finds_the_block_of_a_device(step: int, noise: float) -> None:
    cost, sizes = cost_of(step, noise)
    assert max(sizes) >= 8 and step < max(sizes)
    assert channel_multiples(cost, sizes) == tuple(
        next(m for m in (8, 4, 2, 1) if m == 1 or (m <= step < size and 2 * m <= size)) for size in sizes
    )


def test_a_time_that_never_changes_asks_for_nothing() -> None:
    cost, sizes = cost_of(1, 0.0)
    cost._flat = np.ones_like(cost._flat)
    assert set(channel_multiples(cost, sizes)) == {1}
