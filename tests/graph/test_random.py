"""Property: whatever the network, masked equals sliced and every candidate's cost is exact."""

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune.graph.flops import counted_macs
from autoprune.graph.rewrite import rewrite
from autoprune.graph.trace import trace, trace_program
from autoprune.graph.tracer import Settings
from autoprune.plan import make_plan
from autoprune.surgery import proven
from autoprune.verify import verify
from tests.graph.checks import draw, masked, outputs, randomize, sliced, widths
from tests.graph.random_nets import SIDE, Program, programs
from tests.graph.random_tensors import tensor_program

TOLERANCE = 1e-10
EXAMPLES = int(os.environ.get("AUTOPRUNE_EXAMPLES", "25"))


def close(expected: list[Tensor], found: list[Tensor], dense: list[Tensor]) -> bool:
    """Equal up to rounding, which grows with the numbers that the dense network works with."""
    return all(
        e.shape == f.shape and bool((e - f).abs().max() <= TOLERANCE * max(1, e.abs().max(), d.abs().max()))
        for e, f, d in zip(expected, found, dense, strict=True)
    )


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 25, suppress_health_check=list(HealthCheck)
)
@given(programs(), st.integers(0, 2**16), st.booleans(), st.booleans())
def test_masked_equals_sliced(program: Program, seed: int, rewritten: bool, heads: bool) -> None:
    model = randomize(program, seed)
    inputs = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    dense = outputs(model, inputs)
    traced = trace_program(model, inputs, Settings(rewritten=rewritten, heads=heads))
    graph = traced.graph
    follows = program.followed and not rewritten and (heads or not program.attends)
    note(str(program.steps))
    assert graph.macs() == counted_macs(model, inputs)
    generator = np.random.default_rng(seed)
    for keep in (draw(graph, generator), draw(graph, generator), {g.name: [0] for g in graph.prunable}):
        note(str(keep))
        expected = outputs(masked(model, graph, keep), inputs)
        followers = [sliced(model, graph, keep)] if follows else []
        for small in (rewrite(traced, keep), *followers):
            assert close(expected, outputs(small, inputs), dense)
            assert graph.macs(widths(keep)) == counted_macs(small, inputs)
            assert graph.params(widths(keep)) == sum(p.numel() for p in small.parameters())


@settings(
    max_examples=max(6, EXAMPLES // 5),
    deadline=None,
    derandomize=EXAMPLES == 25,
    suppress_health_check=list(HealthCheck),
)
@given(programs(), st.integers(0, 2**16), st.booleans())
def test_the_form_that_is_taken_is_verified(program: Program, seed: int, heads: bool) -> None:
    """From the trace to the plan that a user gets, whichever form that takes."""
    model = randomize(program, seed)
    inputs = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    graph = proven(trace(model, inputs, heads=heads), seed=seed)
    keep = draw(graph, np.random.default_rng(seed))
    note(f"{program.steps}, {graph.form}, {keep}")
    found = verify(model, make_plan(graph, model, keep), inputs, rewriter=graph.rewriter)
    found.require()
    assert found.difference < TOLERANCE and found.state_dict is True


@pytest.mark.parametrize("rewritten", [False, True])
def test_programs_over_tensors_of_any_rank(rewritten: bool) -> None:
    """What has no exact rule is locked; whatever is left prunable is exact."""
    pruned = 0
    for seed in range(EXAMPLES):
        program, inputs = tensor_program(seed)
        model = randomize(program, seed)
        dense = outputs(model, inputs)
        traced = trace_program(model, inputs, Settings(rewritten=rewritten))
        graph = traced.graph
        assert graph.macs() == counted_macs(model, inputs), seed
        assert not any("failed" in group.reason for group in graph.groups), seed
        generator = np.random.default_rng(seed)
        for keep in ({g.name: [0] for g in graph.prunable}, draw(graph, generator)):
            expected, small = outputs(masked(model, graph, keep), inputs), rewrite(traced, keep)
            assert close(expected, outputs(small, inputs), dense), (seed, program.steps, keep)
            assert graph.macs(widths(keep)) == counted_macs(small, inputs), seed
        pruned += bool(graph.prunable)
    assert pruned > EXAMPLES // 2
