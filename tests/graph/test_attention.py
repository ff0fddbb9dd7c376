"""Units of attention: whole heads, or one channel of every head; what follows the scale; both, one by one."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.graph.flops import counted_macs
from autoprune.graph.rewrite import rewrite
from autoprune.graph.trace import trace_program
from autoprune.graph.tracer import Settings
from autoprune.surgery.changes import Surgery
from autoprune.surgery.slicer import Slicer
from tests.graph.cases import Case
from tests.graph.checks import cast, difference, draw, masked, outputs, randomize, sliced, widths
from tests.graph.nets import NETS, Attention, Lambda, Net, tokens

# Groups of the projections where units are channels of heads, by hand: in a plain trace, and for rewriting.
CHANNELS: dict[str, tuple[list[tuple[str, int]], list[tuple[str, int]]]] = {
    "attention": ([("attention.v.weight", 4)], [("attention.q.weight", 4), ("attention.v.weight", 4)]),
    "attention_by_hand": ([("attention.q.weight", 4), ("attention.v.weight", 4)],) * 2,
    "attention_fused": ([], [("attention.qkv.weight", 3), ("attention.qkv.weight:1", 3)]),
    "attention_fused_by_hand": (
        [("attention.qkv.weight", 6)],
        [("attention.qkv.weight", 6), ("attention.qkv.weight:1", 6)],
    ),
    "attention_chunked": ([], [("attention.qkv.weight", 3), ("attention.qkv.weight:1", 3)]),
    "attention_module": (
        [("mha.in_proj_weight", 4)],
        [("mha.in_proj_weight", 4), ("mha.in_proj_weight:1", 4)],
    ),
    "attention_normalized_queries": ([("v.weight", 4)],) * 2,
    "attention_grouped_queries": ([("v.weight", 3)], [("q.weight", 3), ("v.weight", 3)]),
    "attention_bias_table": ([("qkv.weight", 4)], [("qkv.weight", 4), ("qkv.weight:1", 4)]),
}


@cache
def channels(name: str, rewritten: bool) -> Case:
    torch.manual_seed(0)
    model, inputs = NETS[name]()
    model, inputs = randomize(model), cast(inputs)
    return Case(model, inputs, trace_program(model, inputs, Settings(rewritten=rewritten, heads=False)))


def check(found: Case) -> None:
    graph, generator = found.traced.graph, np.random.default_rng(0)
    for keep in ({g.name: [0] for g in graph.prunable}, draw(graph, generator), draw(graph, generator)):
        small = rewrite(found.traced, keep)
        expected = outputs(masked(found.model, graph, keep), found.inputs)
        assert difference(expected, outputs(small, found.inputs)) < 1e-12
        assert graph.macs(widths(keep)) == counted_macs(small, found.inputs)
        assert graph.params(widths(keep)) == sum(p.numel() for p in small.parameters())


@pytest.mark.parametrize("rewritten", [False, True])
@pytest.mark.parametrize("name", CHANNELS)
def test_channels_of_heads(name: str, rewritten: bool) -> None:
    found = channels(name, rewritten)
    others = {"up.weight", "mha.out_proj.weight"}
    groups = [(g.name, g.size) for g in found.traced.graph.prunable if g.name not in others]
    assert groups == CHANNELS[name][rewritten]
    check(found)


def test_a_channel_of_every_head_is_one_unit() -> None:
    group = channels("attention_fused", True).traced.graph.group("attention.qkv.weight:1")
    axes = {(a.parameter, a.dim): a.indices for a in group.axes}
    places = np.arange(12).reshape(4, 3).T
    assert np.array_equal(axes["attention.qkv.weight", 0], places + 24)
    assert np.array_equal(axes["attention.proj.weight", 1], places)


def test_the_default_scale_is_kept_by_the_rewritten_graph_only() -> None:
    plain, rewritten = (
        channels("attention", r).traced.graph.group("attention.q.weight") for r in (False, True)
    )
    assert plain.reason == "inexact: the attention's scale follows their number"
    assert "only the rewritten graph keeps it" in rewritten.note


def single(heads: int, **settings: Any) -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (p(x).view(2, 5, heads, -1).transpose(1, 2) for p in (m.q, m.k, m.v))
        return m.proj(F.scaled_dot_product_attention(q, k, v, **settings).transpose(1, 2).flatten(2))

    layers = {name: nn.Linear(12, 12) for name in ("q", "k", "v")}
    return Lambda(forward, **layers, proj=nn.Linear(12, 3)), tokens()


def test_with_a_scale_of_its_own_the_class_follows_too() -> None:
    torch.manual_seed(0)
    model, inputs = single(3, scale=0.5, is_causal=True)
    model, inputs = randomize(model), cast(inputs)
    found = Case(model, inputs, trace_program(model, inputs, Settings(heads=False)))
    assert [(g.name, g.size) for g in found.traced.graph.prunable] == [("q.weight", 4), ("v.weight", 4)]
    check(found)
    keep = {"q.weight": [1, 3], "v.weight": [0]}
    expected = outputs(masked(model, found.traced.graph, keep), inputs)
    assert difference(expected, outputs(sliced(model, found.traced.graph, keep), inputs)) < 1e-12


def test_heads_and_then_their_channels() -> None:
    """What one trace prunes by heads, another prunes by channels of the heads that are left."""
    torch.manual_seed(0)
    model, inputs = nn.Sequential(Attention(12, 3, fused=True), nn.Linear(12, 2)), tokens()
    model, inputs = randomize(model), cast(inputs)
    by_heads = trace_program(model, inputs, Settings(rewritten=True))
    small = rewrite(by_heads, {"0.qkv.weight": [0, 2]})
    second = trace_program(small, inputs, Settings(rewritten=True, heads=False))
    assert [(g.name, g.size) for g in second.graph.prunable][:2] == [
        ("0.qkv.weight", 4),
        ("0.qkv.weight:1", 4),
    ]
    check(Case(small, inputs, second))


def test_torchs_own_module_follows_where_heads_and_embedding_agree() -> None:
    """`num_heads` and `embed_dim` are corrected; its forward wants the heads to fill the embedding."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.norm(m.embed(x))
        return m.head(x + m.mha(x, x, x, need_weights=False)[0])

    torch.manual_seed(0)
    mha = nn.MultiheadAttention(12, 3, batch_first=True)
    layers = dict(embed=nn.Linear(12, 12), norm=nn.LayerNorm(12), mha=mha, head=nn.Linear(12, 2))
    model, inputs = randomize(Lambda(forward, **layers)), cast(tokens())
    found = trace_program(model, inputs, Settings(inexact=True))
    surgery, slicer = Surgery(found.graph, model), Slicer(model)
    assert [(g.name, g.size) for g in found.graph.prunable] == [
        ("embed.weight", 12),
        ("mha.in_proj_weight", 3),
    ]

    heads = {"mha.in_proj_weight": [0, 2]}
    changed = surgery(heads)
    assert changed.modules == {"mha": {"num_heads": 2}, "mha.out_proj": {"in_features": 8}}
    with pytest.raises((RuntimeError, AssertionError)):
        outputs(slicer(changed.slices, changed.modules), inputs)

    both = heads | {"embed.weight": [0, 1, 3, 4, 6, 7, 9, 11]}
    changed = surgery(both)
    assert changed.modules["mha"] == {"num_heads": 2, "embed_dim": 8, "kdim": 8, "vdim": 8}
    own = slicer(changed.slices, changed.modules)
    assert difference(outputs(rewrite(found, both), inputs), outputs(own, inputs)) < 1e-12
