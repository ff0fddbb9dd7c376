"""Channel multiples read off a table, against devices whose steps are known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.graph import trace, trace_program
from autoprune.latency import (
    LatencyCost,
    LatencyTable,
    Target,
    anchored,
    best_step,
    channel_multiples,
    network,
    profile,
    requests_of,
    segments_of,
)
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


@pytest.mark.parametrize("step", [1, 2, 8, 64])
def test_what_whole_networks_show_counts_up_to_half_a_group(step: int) -> None:
    cost, sizes = cost_of(1, 0.0)
    cost.step = step
    assert channel_multiples(cost, sizes) == tuple(
        next(m for m in (64, 32, 16, 8, 4, 2, 1) if m == 1 or (m <= step and 4 * m <= size)) for size in sizes
    )


@pytest.mark.parametrize(("per_mac", "step"), [
    ((1, 1, 1, 1), 1),
    ((1, 0.95, 0.7, 0.61), 1),
    ((1, 0.4, 0.4, 0.3), 4),
    ((1, 0.7, 0.5, 0.31), 8),
    ((1, 0.5, 0.5, 0.29), 16),
    ((1, 2, 2, 0.5), 16),
])  # fmt: skip
def test_the_smallest_step_that_is_worth_it(
    per_mac: tuple[float, ...], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = trace(Wide(), torch.zeros(1, 3, 4, 4))
    seen: list[list[int]] = []

    def fake(networks: list[Wide], *args: object, **rest: object) -> list[float]:
        seen.extend([n.one.out_channels, n.two.out_channels] for n in networks)
        macs = [graph.macs({"one.weight": a, "two.weight": b}) for a, b in seen]
        return [x * m for x, m in zip(per_mac, macs, strict=True)]

    monkeypatch.setattr(network, "time_networks", fake)
    assert best_step(Wide(), graph, torch.zeros(1, 3, 4, 4), Target.here()) == step
    for multiple, widths in zip(network.STEPS, seen, strict=True):
        assert all(width % multiple == 0 for width in widths)
        assert all(0 <= loose - width < multiple for loose, width in zip(seen[0], widths, strict=True))


@pytest.mark.parametrize("round_to", [1, 8])
def test_anchors_have_widths_like_the_candidates(round_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = Wide(), torch.zeros(1, 3, 4, 4)
    traced = trace_program(model, inputs)
    table = profile(model, inputs, points=2, repeats=1)
    cost = LatencyCost(segments_of(traced), table)
    seen: list[int] = []

    def fake(networks: list[Wide], *args: object, **rest: object) -> list[float]:
        seen.extend(n.one.out_channels for n in networks)
        return [float(i + 1) for i in range(len(networks))]

    monkeypatch.setattr(network, "time_networks", fake)
    times = anchored(cost, model, traced.graph, inputs, table.target, round_to=round_to, beside=[model])
    assert times == [float(n) for n in range(1, 12)] and seen.pop() == seen[0] == 80
    assert [ms for _, ms in cost.anchors] == times[:10] and len(seen) == 10
    assert all(width % round_to == 0 for width in seen) and len(set(seen)) > 5
    assert (round_to == 8) == all(width % 8 == 0 for width in seen)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 80, 1), nn.Conv2d(80, 72, 1), nn.Conv2d(72, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.two(torch.relu(self.one(x)))))
