"""The proof obligation: removing units changes nothing that zeroing all their members does not."""

from collections.abc import Iterator

import numpy as np
import pytest

from autoprune.graph.flops import counted_macs
from autoprune.graph.rewrite import rewrite
from tests.graph.cases import Case, Cases
from tests.graph.checks import difference, draw, masked, outputs, sliced, swapped, widths
from tests.graph.nets import NETS

TOLERANCE = 1e-12
# Their Python forward holds sizes that no tensor tells it; only the rewritten graph follows.
HARD_CODED = {
    "attention_bias_table",
    "attention_fused",
    "attention_fused_by_hand",
    "attention_grouped_queries",
    "attention_module",
    "attention_normalized_queries",
    "stacked",
}
# PyTorch's counter does not see an einsum that sums over one position.
SMALLEST = {"cross_channel_products": 2}
PRUNABLE = sorted(set(NETS) - {"recurrent", "running_sum"})


def keeps(case: Case, name: str, count: int) -> Iterator[dict[str, list[int]]]:
    generator = np.random.default_rng(sorted(NETS).index(name))
    smallest = SMALLEST.get(name, 1)
    graph = case.traced.graph
    yield {g.name: list(range(min(smallest, g.size))) for g in graph.prunable}
    for _ in range(count):
        yield draw(graph, generator, smallest)


@pytest.mark.parametrize("name", PRUNABLE)
def test_the_sliced_graph_equals_the_masked_network(case: Cases, name: str) -> None:
    found = case(name)
    graph = found.traced.graph
    for keep in keeps(found, name, 2):
        expected = outputs(masked(found.model, graph, keep), found.inputs)
        small = rewrite(found.traced, keep)
        assert difference(expected, outputs(small, found.inputs)) < TOLERANCE
        assert graph.macs(widths(keep)) == counted_macs(small, found.inputs)
        assert graph.params(widths(keep)) == sum(p.numel() for p in small.parameters())


@pytest.mark.parametrize("name", sorted(set(PRUNABLE) - HARD_CODED))
def test_the_model_itself_with_smaller_tensors_equals_the_masked_network(case: Cases, name: str) -> None:
    found = case(name)
    graph = found.traced.graph
    for keep in keeps(found, name, 2):
        expected = outputs(masked(found.model, graph, keep), found.inputs)
        small = sliced(found.model, graph, keep)
        assert difference(expected, outputs(small, found.inputs)) < TOLERANCE
        assert graph.macs(widths(keep)) == counted_macs(small, found.inputs)


@pytest.mark.parametrize("name", sorted(HARD_CODED))
def test_hard_coded_networks_are_listed_for_a_reason(case: Cases, name: str) -> None:
    found = case(name)
    keep = {g.name: [0] for g in found.traced.graph.prunable}
    with pytest.raises((RuntimeError, AssertionError)):
        outputs(sliced(found.model, found.traced.graph, keep), found.inputs)


@pytest.mark.parametrize("name", PRUNABLE)
def test_negative_control_other_units_of_the_same_number_give_another_output(case: Cases, name: str) -> None:
    found = case(name)
    graph = found.traced.graph
    keep = {g.name: list(range(max(1, g.size // 2), g.size)) for g in graph.prunable}
    other = swapped(graph, keep)
    assert other != keep
    expected = outputs(masked(found.model, graph, keep), found.inputs)
    assert difference(expected, outputs(rewrite(found.traced, other), found.inputs)) > 1e-6


@pytest.mark.parametrize("name", PRUNABLE)
def test_every_prunable_group_matters(case: Cases, name: str) -> None:
    found = case(name)
    dense = outputs(found.model, found.inputs)
    for group in found.traced.graph.prunable:
        keep = {group.name: [group.size - 1]}
        assert difference(dense, outputs(rewrite(found.traced, keep), found.inputs)) > 1e-6, group.name
