"""Which channels go together, in which order, under which name, and why some stay."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.errors import ArgumentError
from autoprune.graph import trace
from tests.graph.cases import Cases
from tests.graph.nets import NETS, image

# Name and number of units of every prunable group, in network order, worked out by hand.
PRUNABLE = {
    "plain_cnn": [("0.0.weight", 8), ("2.0.weight", 12)],
    "mlp": [("0.weight", 10), ("2.weight", 7)],
    "vgg_flatten": [("features.0.weight", 6), ("features.3.weight", 8), ("head.0.weight", 9)],
    "functional": [("w1", 6), ("w2", 8)],
    "residual": [("stem.0.weight", 8), ("blocks.0.0.0.weight", 6), ("blocks.1.0.0.weight", 6)],
    "inplace_residual": [("stem.weight", 8)],
    "option_a": [("inner.0.weight", 6)],
    "concat": [("a.0.weight", 4), ("b.0.weight", 6), ("c.0.weight", 8)],
    "densenet": [
        ("stem.weight", 6),
        ("layers.0.2.weight", 4),
        ("layers.1.2.weight", 4),
        ("layers.2.2.weight", 4),
    ],
    "shared_module": [("stem.0.weight", 6)],
    "tied_weights": [("first.weight", 8)],
    "two_inputs_dict_output": [("conv.0.weight", 8)],
    "mobilenet": [("stem.0.weight", 6), ("one.0.0.weight", 12), ("two.0.0.weight", 18), ("two.2.weight", 10)],
    "depthwise_multiplier": [("0.weight", 4), ("3.weight", 5)],
    "grouped": [("0.0.weight", 2), ("1.0.weight", 3), ("2.0.weight", 3)],
    "grouped_reduction": [("0.weight", 4)],
    "transposed": [("0.weight", 8), ("1.weight", 3), ("4.weight", 6)],
    "one_and_three_dimensional": [("volume.0.weight", 6), ("line.weight", 8)],
    "squeeze_excite": [("stem.0.weight", 8), ("down.weight", 4)],
    "group_norm": [("0.weight", 4), ("3.weight", 6)],
    "instance_norm": [("a.0.weight", 6), ("b.weight", 5)],
    "frozen_norm": [("conv.weight", 6)],
    "layer_scale": [("stem.0.weight", 6), ("up.weight", 10)],
    "layer_norm_mlp": [("up.weight", 16)],
    "rms_gated_mlp": [("gate.weight", 10)],
    "glu": [("0.weight", 8)],
    "chunked": [("stem.0.weight", 6), ("side.0.weight", 5)],
    "shuffled": [("a.0.weight", 2)],
    "shuffle_net": [
        ("0.0.weight", 6),
        *((f"{i}.main.0.0.weight", 10) for i in (1, 2, 3, 4)),
        ("5.0.weight", 12),
    ],
    "pixel_shuffled": [("0.weight", 6), ("2.weight", 4)],
    "stacked": [("a.0.weight", 6)],
    "upsampled": [("a.0.weight", 6)],
    "normalized_vector": [("a.weight", 8)],
    "linear_inside_heads": [("outer.weight", 2), ("inner.weight", 3)],
    "attention": [("attention.q.weight", 3), ("up.weight", 20)],
    "attention_by_hand": [("attention.q.weight", 3), ("up.weight", 20)],
    "attention_fused": [("attention.qkv.weight", 4), ("up.weight", 20)],
    "attention_fused_by_hand": [("attention.qkv.weight", 2), ("up.weight", 20)],
    "attention_chunked": [("attention.qkv.weight", 4), ("up.weight", 20)],
    "attention_module": [("mha.in_proj_weight", 3), ("mha.out_proj.weight", 12)],
    "attention_normalized_queries": [("q.weight", 3)],
    "attention_grouped_queries": [("q.weight", 2)],
    "attention_bias_table": [("qkv.weight", 3)],
    "cross_channel_products": [("a.weight", 8), ("v.weight", 6)],
    "embedded_text": [("words.weight", 8), ("mix.weight", 10)],
    "matrix_parameter": [("w1", 8)],
    "recurrent": [],
    "weight_normed": [("2.0.weight", 8)],
    "spectral_normed": [("0.parametrizations.weight.original", 6), ("2.0.weight", 8)],
    "unused_head": [("stem.0.weight", 6), ("head.0.0.weight", 5)],
    "constant_cuts": [("side.0.weight", 5)],
    "running_sum": [],
    "gradient_modes": [("a.0.weight", 6), ("b.weight", 8)],
}

LOCKED = [
    ("plain_cnn", "5.weight", "output of the model"),
    ("shuffle_net", "1.side.1.0.weight", "a single unit would be the whole dimension"),
    ("option_a", "stem.0.weight", "padded with a constant"),
    ("option_a", "outer.weight", "combined element by element with a shortcut that is padded"),
    ("two_inputs_dict_output", "side.weight", "output of the model"),
    ("layer_norm_mlp", "embed.weight", "inexact: layer_norm normalizes over these channels"),
    ("rms_gated_mlp", "down.weight", "combined element by element with the model's input"),
    ("embedded_text", "words.weight:1", "looked up by index"),
    ("recurrent", "embed.weight", "a recurrent layer"),
    ("recurrent", "gru.weight_hh_l0", "a recurrent layer"),
    ("weight_normed", "0.parametrizations.weight.original1", "by a norm of zero"),
    ("unused_head", "aux.weight", "not used by a forward pass in eval mode"),
    ("constant_cuts", "stem.0.weight", "cut at a constant index"),
    ("running_sum", "a.weight", "aten::cumsum over these channels"),
]


def test_the_table_is_complete() -> None:
    assert set(PRUNABLE) == set(NETS)


@pytest.mark.parametrize("name", PRUNABLE)
def test_prunable_groups(case: Cases, name: str) -> None:
    assert [(g.name, g.size) for g in case(name).traced.graph.prunable] == PRUNABLE[name]


@pytest.mark.parametrize(("name", "group", "reason"), LOCKED)
def test_locked_groups_say_why(case: Cases, name: str, group: str, reason: str) -> None:
    found = case(name).traced.graph.group(group)
    assert not found.prunable
    assert reason in found.reason


@pytest.mark.parametrize("name", PRUNABLE)
def test_groups_are_consistent(case: Cases, name: str) -> None:
    """Unique names, no position in two units, every axis as long as the group, indices inside the tensor."""
    graph = case(name).traced.graph
    assert len({g.name for g in graph.groups}) == len(graph.groups)
    assert not any("failed" in g.reason for g in graph.groups)
    taken = set()
    for group in graph.groups:
        assert len(group.members) == group.size
        for axis in group.axes:
            assert axis.indices.shape[0] == group.size
            assert (
                axis.indices.min() >= 0 and axis.indices.max() < graph.fingerprint[axis.parameter][axis.dim]
            )
            places = {(axis.parameter, axis.dim, int(i)) for i in axis.indices.ravel()}
            assert len(places) == axis.indices.size
            assert not places & taken
            taken |= places


@pytest.mark.parametrize("name", PRUNABLE)
def test_the_fingerprint_is_the_state(case: Cases, name: str) -> None:
    found = case(name)
    state = found.model.state_dict()
    assert dict(found.traced.graph.fingerprint) == {key: tuple(value.shape) for key, value in state.items()}
    assert list(found.traced.graph.fingerprint) == list(state)


def test_units_of_a_flattened_map_take_all_its_pixels(case: Cases) -> None:
    group = case("vgg_flatten").traced.graph.group("features.3.weight")
    axis = next(a for a in group.axes if a.parameter == "head.0.weight")
    assert axis.dim == 1
    assert np.array_equal(axis.indices, np.arange(32).reshape(8, 4))


def test_units_of_a_grouped_convolution_lie_in_every_conv_group(case: Cases) -> None:
    group = case("grouped").traced.graph.group("1.0.weight")
    out = next(a for a in group.axes if (a.parameter, a.dim) == ("1.0.weight", 0))
    assert np.array_equal(out.indices, np.arange(12).reshape(4, 3).T)


def test_units_of_attention_are_heads(case: Cases) -> None:
    group = case("attention_fused").traced.graph.group("attention.qkv.weight")
    axes = {(a.parameter, a.dim): a.indices for a in group.axes}
    heads = np.arange(12).reshape(4, 3)
    assert np.array_equal(axes["attention.qkv.weight", 0], np.concatenate([heads, heads + 12, heads + 24], 1))
    assert np.array_equal(axes["attention.proj.weight", 1], heads)


def test_buffers_belong_to_the_group(case: Cases) -> None:
    group = case("plain_cnn").traced.graph.group("0.0.weight")
    assert {a.parameter for a in group.axes} == {
        "0.0.weight", "0.1.weight", "0.1.bias", "0.1.running_mean", "0.1.running_var", "2.0.weight",
    }  # fmt: skip


def test_a_shared_tensor_has_its_first_name(case: Cases) -> None:
    graph = case("shared_module").traced.graph
    assert not any(a.parameter.startswith("alias.") for g in graph.groups for a in g.axes)
    assert "alias.0.weight" in graph.fingerprint


def test_two_groups_of_one_producer_are_numbered(case: Cases) -> None:
    names = [g.name for g in case("constant_cuts").traced.graph.groups]
    assert names[:2] == ["stem.0.weight", "stem.0.weight:1"]


def test_a_single_unit_is_locked() -> None:
    graph = trace(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)), image()
    )
    assert [g.size for g in graph.prunable] == [8]
    tied = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.PixelShuffle(2), nn.Conv2d(1, 2, 1)
    )
    assert trace(tied, image()).prunable == () or all(g.size > 1 for g in trace(tied, image()).prunable)


def test_inexact_groups_are_an_option_with_a_note() -> None:
    model, inputs = NETS["layer_norm_mlp"]()
    group = trace(model, inputs, inexact=True).group("embed.weight")
    assert group.prunable
    assert "inexact: layer_norm normalizes over these channels" in group.note


def test_further_groups_can_be_locked(case: Cases) -> None:
    graph = case("residual").traced.graph
    less = graph.locked({"stem.0.weight": "the user says so"})
    assert [g.name for g in less.prunable] == ["blocks.0.0.0.weight", "blocks.1.0.0.weight"]
    assert less.group("stem.0.weight").reason == "the user says so"
    assert less.macs() == graph.macs()
    with pytest.raises(ArgumentError, match="locked"):
        less.macs({"stem.0.weight": 4})
    with pytest.raises(ArgumentError, match="did you mean"):
        graph.locked({"stem.0.wight": "typo"})


def test_resnet20_has_nine_prunable_groups(cifar: SimpleNamespace) -> None:
    graph = trace(cifar.models.resnet20(), torch.zeros(1, 3, 32, 32))
    assert [g.name for g in graph.prunable] == [
        f"layer{s}.{b}.conv1.weight" for s in (1, 2, 3) for b in range(3)
    ]
    assert [g.size for g in graph.prunable] == [16] * 3 + [32] * 3 + [64] * 3
    assert graph.macs() == 40_551_040
    assert graph.params() == 269_722
