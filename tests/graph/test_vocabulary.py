"""The op vocabulary, a row for each: what is pruned, what is locked and why, and that the result is exact.

Networks of `nets.py` are the rows of `test_groups.py` and `test_exact.py`; these are the layers beside them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from autoprune.graph import Call, PruneGraph, Value, register_rule, registry
from autoprune.graph.flops import counted_macs
from autoprune.graph.rewrite import rewrite
from autoprune.graph.trace import trace_program
from autoprune.graph.tracer import Settings, Tracer
from autoprune.surgery import Cut, attributes, register_adapter
from autoprune.surgery.changes import Surgery
from autoprune.surgery.masking import zeroed
from autoprune.surgery.slicer import Slicer
from tests.graph.checks import cast, difference, draw, outputs, randomize, widths
from tests.graph.nets import Lambda, conv_bn, image, tokens

TOLERANCE = 1e-11


class Row(NamedTuple):
    """A network, what must be prunable (name, units), what must be locked (name: part of the reason)."""

    build: Callable[[], tuple[nn.Module, Any]]
    prunable: list[tuple[str, int]]
    locked: Mapping[str, str] = {}
    own: bool = True  # whether the model's own class follows
    settings: Settings = Settings()


def chain(*layers: nn.Module, x: Any = None) -> Callable[[], tuple[nn.Module, Any]]:
    return lambda: (nn.Sequential(*layers), image() if x is None else x)


def between(layer: Callable[[], nn.Module]) -> Callable[[], tuple[nn.Module, Any]]:
    """conv 3 -> 5, the layer 5 -> 6, conv 6 -> 8 -> 2."""
    return lambda: (
        nn.Sequential(conv_bn(3, 5), layer(), nn.ReLU(), conv_bn(6, 8), nn.Conv2d(8, 2, 1)),
        image(),
    )


class Recurrent(nn.Module):
    def __init__(self, layer: Callable[..., nn.Module]):
        super().__init__()
        self.embed, self.layer = nn.Linear(12, 8), layer(8, 6, batch_first=True)
        self.hidden, self.out = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(self.layer(self.embed(x))[0]).relu())


def recurrent(layer: Callable[..., nn.Module]) -> Row:
    why = "a recurrent layer"
    locked = {"embed.weight": why, "layer.weight_ih_l0": why, "layer.weight_hh_l0": why}
    return Row(lambda: (Recurrent(layer), tokens()), [("hidden.weight", 5)], locked)


def old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Conv2d(5, 6, 3))


def attention(**settings: Any) -> Callable[[], tuple[nn.Module, Any]]:
    def forward(m: Any, x: Tensor) -> Tensor:
        k, v = x[..., : m.mha.kdim], x[..., : m.mha.vdim]
        return m.head(m.mha(x, k, v, need_weights=m.weights)[0])

    def build() -> tuple[nn.Module, Any]:
        weights = settings.get("weights", False)
        rest = {key: value for key, value in settings.items() if key != "weights"}
        mha = nn.MultiheadAttention(12, 3, batch_first=True, **rest)
        model = Lambda(forward, mha=mha, head=nn.Linear(12, 3))
        model.weights = weights
        return model, tokens()

    return build


def grouped(repeat: Callable[[Tensor], Tensor]) -> Callable[[], tuple[nn.Module, Any]]:
    """Four heads of queries, two of keys and values, each of which serves two (arXiv:2305.13245)."""

    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (p(x).view(2, 5, -1, 3).transpose(1, 2) for p in (m.q, m.k, m.v))
        y = torch.softmax(q @ repeat(k).transpose(-2, -1) * 3**-0.5, -1) @ repeat(v)
        return m.out(m.proj(y.transpose(1, 2).flatten(2)))

    layers = dict(q=nn.Linear(12, 12), k=nn.Linear(12, 6), v=nn.Linear(12, 6), proj=nn.Linear(12, 12))
    return lambda: (Lambda(forward, **layers, out=nn.Linear(12, 2)), tokens())


def decoder() -> tuple[nn.Module, Any]:
    layer = nn.TransformerDecoderLayer(12, 3, 20, batch_first=True)
    return Lambda(lambda m, x: m.head(m.layer(x, x)), layer=layer, head=nn.Linear(12, 3)), tokens()


def unfolded() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(F.fold(F.unfold(m.a(x), 3, padding=1), (8, 8), 3, padding=1))

    return Lambda(forward, a=conv_bn(3, 6), out=nn.Conv2d(6, 2, 1)), image()


def unpooled() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(F.max_unpool2d(*F.max_pool2d(m.a(x), 2, return_indices=True), 2))

    return Lambda(forward, a=conv_bn(3, 6), out=nn.Conv2d(6, 2, 1)), image()


def standardized() -> tuple[nn.Module, Any]:
    """Weight standardization (arXiv:1903.10520): the weight's own statistics run over its inputs."""

    def forward(m: Any, x: Tensor) -> Tensor:
        w = m.weight - m.weight.mean((1, 2, 3), keepdim=True)
        return m.out(F.conv2d(m.a(x), w / (m.weight.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()))

    model = Lambda(forward, a=conv_bn(3, 6), out=nn.Conv2d(5, 2, 1))
    model.weight = nn.Parameter(torch.randn(5, 6, 3, 3))
    return model, image()


def channel_attention() -> tuple[nn.Module, Any]:
    """Efficient channel attention (arXiv:1910.03151): a convolution over the pooled channels."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        gate = torch.sigmoid(m.over(x.mean((2, 3)).unsqueeze(1)))
        return m.b(x * gate.view(len(x), -1, 1, 1).expand_as(x))

    layers = dict(a=conv_bn(3, 8), over=nn.Conv1d(1, 1, 3, padding=1, bias=False), b=nn.Conv2d(8, 2, 1))
    return Lambda(forward, **layers), image()


def positive_channel_attention() -> tuple[nn.Module, Any]:
    """The same, but the convolution reads something that is not zero at removed channels."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        gate = m.over(torch.sigmoid(x.mean((2, 3))).unsqueeze(1))
        return m.b(x * gate.view(len(x), -1, 1, 1))

    layers = dict(a=conv_bn(3, 8), over=nn.Conv1d(1, 1, 3, padding=1), b=nn.Conv2d(8, 2, 1))
    return Lambda(forward, **layers), image()


def bilinear() -> tuple[nn.Module, Any]:
    layers = dict(a=nn.Linear(12, 6), b=nn.Bilinear(6, 6, 7), out=nn.Linear(7, 2))
    return Lambda(lambda m, x: m.out(m.b(m.a(x), m.a(x)).relu()), **layers), tokens()


def auxiliary() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Any:
        x = m.stem(x)
        return (m.head(x), m.aux(x)) if m.training else m.head(x)

    return Lambda(forward, stem=conv_bn(3, 6), aux=conv_bn(6, 4), head=nn.Conv2d(6, 2, 1)), image()


def layer_norm_stream() -> tuple[nn.Module, Any]:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        return m.head((x + m.down(F.gelu(m.up(m.norm(x))))).mean(1))

    layers = dict(norm=nn.LayerNorm(8), up=nn.Linear(8, 16), down=nn.Linear(16, 8), head=nn.Linear(8, 3))
    return Lambda(forward, embed=nn.Linear(12, 8), **layers), tokens()


INEXACT = "normalizes over these channels"
TABLE: dict[str, Row] = {
    "conv1d": Row(
        chain(nn.Conv1d(3, 6, 3), nn.ReLU(), nn.Conv1d(6, 2, 1), x=torch.randn(2, 3, 9)), [("0.weight", 6)]
    ),
    "conv3d": Row(
        chain(nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6), nn.Conv3d(6, 2, 1), x=torch.randn(2, 2, 4, 4, 4)),
        [("0.weight", 6)],
    ),
    "conv_transpose1d": Row(
        chain(nn.ConvTranspose1d(3, 6, 3, 2), nn.Conv1d(6, 2, 1), x=torch.randn(2, 3, 9)), [("0.weight", 6)]
    ),
    "conv_transpose3d": Row(
        chain(nn.ConvTranspose3d(3, 6, 2, 2), nn.ReLU(), nn.Conv3d(6, 2, 1), x=torch.randn(1, 3, 3, 3, 3)),
        [("0.weight", 6)],
    ),
    "embedding": Row(
        chain(
            nn.Embedding(11, 8), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2), x=torch.randint(0, 11, (2, 6))
        ),
        [("0.weight", 8), ("1.weight", 5)],
        {"0.weight:1": "looked up by index"},
    ),
    "embedding_bag": Row(
        chain(
            nn.EmbeddingBag(11, 8),
            nn.Linear(8, 5),
            nn.Tanh(),
            nn.Linear(5, 2),
            x=torch.randint(0, 11, (2, 6)),
        ),
        [("0.weight", 8), ("1.weight", 5)],
        {"0.weight:1": "looked up by index"},
    ),
    "group_norm": Row(
        between(lambda: nn.Sequential(nn.GroupNorm(5, 5), nn.Conv2d(5, 6, 1))),
        [("0.0.weight", 5), ("1.1.weight", 6), ("3.0.weight", 8)],
    ),
    "group_norm of one group": Row(
        chain(conv_bn(3, 6), nn.GroupNorm(1, 6), nn.Conv2d(6, 4, 1)),
        [],
        {"0.0.weight": f"inexact: group_norm with one group {INEXACT}"},
    ),
    "instance_norm": Row(
        chain(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 2, 1)), [("0.weight", 6)]
    ),
    "rms_norm": Row(
        chain(nn.Linear(12, 8), nn.RMSNorm(8), nn.Linear(8, 3), x=tokens()),
        [],
        {"0.weight": f"inexact: rms_norm {INEXACT}"},
    ),
    "local_response_norm": Row(
        chain(conv_bn(3, 6), nn.LocalResponseNorm(3), nn.Conv2d(6, 2, 1)), [], {"0.0.weight": "padded"}
    ),
    "prelu": Row(
        chain(conv_bn(3, 6), nn.PReLU(6), nn.Conv2d(6, 5, 1), nn.PReLU(), nn.Conv2d(5, 2, 1)),
        [("0.0.weight", 6), ("2.weight", 5)],
    ),
    "pixel_shuffle": Row(
        chain(nn.Conv2d(3, 24, 3), nn.PixelShuffle(2), nn.Conv2d(6, 2, 3)), [("0.weight", 6)]
    ),
    "pixel_unshuffle": Row(
        chain(nn.Conv2d(3, 4, 3), nn.PixelUnshuffle(2), nn.Conv2d(16, 2, 1)), [("0.weight", 4)]
    ),
    "channel_shuffle": Row(
        chain(conv_bn(3, 12), nn.ChannelShuffle(3), nn.Conv2d(12, 2, 1)), [("0.0.weight", 4)]
    ),
    "channel_shuffle, rewritten": Row(
        chain(conv_bn(3, 12), nn.ChannelShuffle(3), nn.Conv2d(12, 2, 1)),
        [("0.0.weight", 12)],
        own=False,
        settings=Settings(rewritten=True),
    ),
    "fold and unfold": Row(unfolded, [("a.0.weight", 6)]),
    "channel attention": Row(channel_attention, [], {"a.0.weight": "a convolution runs over this dimension"}),
    "channel attention, rewritten": Row(
        channel_attention, [("a.0.weight", 8)], own=False, settings=Settings(rewritten=True)
    ),
    "channel attention of what is not zero, rewritten": Row(
        positive_channel_attention,
        [],
        {"a.0.weight": "not zero there"},
        settings=Settings(rewritten=True),
    ),
    "max_unpool": Row(unpooled, [("a.0.weight", 6)]),
    "bilinear": Row(bilinear, [("a.weight", 6), ("b.weight", 7)]),
    "activations": Row(
        chain(
            conv_bn(3, 6),
            nn.Mish(),
            nn.Softsign(),
            nn.Hardsigmoid(),
            nn.LogSigmoid(),
            nn.Tanhshrink(),
            nn.Softplus(),
            nn.CELU(),
            nn.Conv2d(6, 2, 1),
        ),
        [("0.0.weight", 6)],
    ),
    "paddings": Row(
        chain(
            nn.Conv2d(3, 6, 3),
            nn.ReflectionPad2d(1),
            nn.ReplicationPad2d(1),
            nn.ZeroPad2d(1),
            nn.ConstantPad2d(1, 2.0),
            nn.CircularPad2d(1),
            nn.Conv2d(6, 2, 1),
        ),
        [("0.weight", 6)],
    ),
    "power average pooling": Row(
        chain(conv_bn(3, 6), nn.LPPool2d(2, 2), nn.Dropout2d(), nn.Conv2d(6, 2, 1)), [("0.0.weight", 6)]
    ),
    "softmax over channels": Row(
        chain(conv_bn(3, 6), nn.Softmax2d(), nn.Conv2d(6, 2, 1)), [], {"0.0.weight": "aten::softmax over"}
    ),
    "weight standardization": Row(standardized, [("weight", 5)], {"a.0.weight": "aten::mean over"}),
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "rnn": recurrent(nn.RNN),
    "weight_norm, hook": Row(
        between(old_weight_norm),
        [("0.0.weight", 5), ("3.0.weight", 8)],
        {"1.weight_g": "fold it with remove_weight_norm"},
    ),
    "weight_norm, parametrization": Row(
        between(lambda: parametrizations.weight_norm(nn.Conv2d(5, 6, 3))),
        [("0.0.weight", 5), ("3.0.weight", 8)],
        {"1.parametrizations.weight.original0": "fold it with remove_weight_norm"},
    ),
    "spectral_norm, hook": Row(
        between(lambda: nn.utils.spectral_norm(nn.Conv2d(5, 6, 3))),
        [("0.0.weight", 5), ("1.weight_orig", 6), ("3.0.weight", 8)],
    ),
    "spectral_norm, parametrization": Row(
        between(lambda: parametrizations.spectral_norm(nn.Conv2d(5, 6, 3))),
        [("0.0.weight", 5), ("1.parametrizations.weight.original", 6), ("3.0.weight", 8)],
    ),
    "auxiliary head": Row(
        auxiliary, [("stem.0.weight", 6)], {"aux.0.weight": "not used by a forward pass in eval mode"}
    ),
    "multi-head attention": Row(
        attention(), [("mha.in_proj_weight", 3), ("mha.out_proj.weight", 12)], own=False
    ),
    "multi-head attention with weights": Row(
        attention(weights=True), [("mha.in_proj_weight", 3), ("mha.out_proj.weight", 12)], own=False
    ),
    "multi-head attention of other widths": Row(
        attention(kdim=6, vdim=5), [("mha.q_proj_weight", 3), ("mha.out_proj.weight", 12)], own=False
    ),
    "multi-head attention with a zero": Row(
        attention(add_zero_attn=True), [("mha.out_proj.weight", 12)], {"mha.in_proj_weight": "aten::zeros"}
    ),
    "multi-head attention, channels of heads": Row(
        attention(weights=True),
        [("mha.in_proj_weight", 4), ("mha.in_proj_weight:2", 4), ("mha.out_proj.weight", 12)],
        own=False,
        settings=Settings(rewritten=True, heads=False),
    ),
    "grouped queries, expanded": Row(
        grouped(lambda x: x[:, :, None].expand(2, -1, 2, 5, 3).reshape(2, -1, 5, 3)),
        [("q.weight", 2), ("proj.weight", 12)],
    ),
    "grouped queries, repeated": Row(
        grouped(lambda x: x.repeat_interleave(2, 1)), [("q.weight", 2), ("proj.weight", 12)]
    ),
    "encoder layer": Row(
        chain(nn.TransformerEncoderLayer(12, 3, 20, batch_first=True), nn.Linear(12, 3), x=tokens()),
        [("0.self_attn.in_proj_weight", 3), ("0.linear1.weight", 20)],
        {"0.self_attn.out_proj.weight": f"inexact: layer_norm {INEXACT}"},
        own=False,
    ),
    "decoder layer, rewritten": Row(
        decoder,
        [
            ("layer.self_attn.in_proj_weight", 3),
            ("layer.multihead_attn.in_proj_weight", 3),
            ("layer.linear1.weight", 20),
        ],
        own=False,
        settings=Settings(rewritten=True),
    ),
    "layer_norm": Row(
        layer_norm_stream, [("up.weight", 16)], {"embed.weight": f"inexact: layer_norm {INEXACT}"}
    ),
}


def traced(row: Row) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = row.build()
    model, inputs = randomize(model), cast(inputs)
    return model, inputs, trace_program(model, inputs, row.settings)


def keeps(graph: PruneGraph) -> Iterator[dict[str, list[int]]]:
    yield {g.name: [0] for g in graph.prunable}
    generator = np.random.default_rng(0)
    for _ in range(2):
        yield draw(graph, generator)


@pytest.mark.parametrize("name", TABLE)
def test_vocabulary(name: str) -> None:
    check(TABLE[name])


def check(row: Row) -> None:
    """Groups and reasons as the row says; masked equals sliced in both forms; costs are exact."""
    model, inputs, found = traced(row)
    graph = found.graph
    assert [(g.name, g.size) for g in graph.prunable] == row.prunable
    for group, reason in row.locked.items():
        assert reason in graph.group(group).reason
    assert graph.macs() == counted_macs(model, inputs)
    surgery = Surgery(graph, model)
    for keep in keeps(graph):
        with zeroed(model, graph.slices(keep)):
            expected = outputs(model, inputs)
        forms = [rewrite(found, keep)]
        if row.own:
            changed = surgery(keep)
            forms.append(Slicer(model)(changed.slices, changed.modules))  # type: ignore[arg-type]
        for small in forms:
            assert difference(expected, outputs(small, inputs)) < TOLERANCE
            assert graph.macs(widths(keep)) == counted_macs(small, inputs)
            assert graph.params(widths(keep)) == sum(p.numel() for p in small.parameters())


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if not row.own])
def test_the_own_class_fails_where_the_table_says_so(name: str) -> None:
    model, inputs, found = traced(TABLE[name])
    keep = {g.name: [u for u in range(g.size) if u != g.size // 2] for g in found.graph.prunable}
    changed = Surgery(found.graph, model)(keep)
    small = Slicer(model)(changed.slices, changed.modules)
    with zeroed(model, found.graph.slices(keep)):
        expected = outputs(model, inputs)
    try:
        result = outputs(small, inputs)
    except (RuntimeError, AssertionError):
        return
    assert difference(expected, result) > 1e-6


def test_the_residual_stream_is_pruned_only_if_the_inexact_is_allowed() -> None:
    """Shapes and costs are exact; the numbers are not, because the statistics of the norm change."""
    row = TABLE["layer_norm"]._replace(settings=Settings(inexact=True))
    model, inputs, found = traced(row)
    graph = found.graph
    assert [(g.name, g.size) for g in graph.prunable] == [("embed.weight", 8), ("up.weight", 16)]
    assert graph.group("embed.weight").note == f"inexact: layer_norm {INEXACT}"
    keep = {"embed.weight": [0, 3, 4, 6]}
    changed = Surgery(graph, model)(keep)
    own = Slicer(model)(changed.slices, changed.modules)
    assert difference(outputs(own, inputs), outputs(rewrite(found, keep), inputs)) < TOLERANCE
    assert graph.macs(widths(keep)) == counted_macs(own, inputs)
    with zeroed(model, graph.slices(keep)):
        assert difference(outputs(model, inputs), outputs(own, inputs)) > 1e-3


@torch.library.custom_op("autoprune_tests::scaled", mutates_args=())
def scaled(x: Tensor, weight: Tensor) -> Tensor:
    return x * weight[:, None, None]


@scaled.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_own_op_by_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of `register_rule`, end to end; without the rule the channels stay."""
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))

    def build() -> tuple[nn.Module, Any]:
        model = Lambda(lambda m, x: m.b(scaled(m.a(x), m.weight)), a=conv_bn(3, 6), b=nn.Conv2d(6, 2, 1))
        model.weight = nn.Parameter(torch.randn(6))
        return model, image()

    row = Row(build, [], {"a.0.weight": "no rule for the op autoprune_tests::scaled"})
    check(row)

    def rule(tracer: Tracer, call: Call) -> Value:
        x, weight = call["x"], call["weight"]
        for channels, scales in zip(x.along(1), weight.along(0), strict=False):
            tracer.unite(channels.ids.ravel(), scales.ids.ravel())
        return replace(call.output, labels=x.labels)

    register_rule(torch.ops.autoprune_tests.scaled, rule)
    check(Row(build, [("a.0.weight", 6)]))


class OwnAttention(nn.Module):
    """Its forward counts heads by an attribute; the width of a head is fixed."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.depth = heads, width // heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (p(x).view(n, t, self.heads, self.depth).transpose(1, 2) for p in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.proj(y.reshape(n, t, self.heads * self.depth))


def test_an_own_module_by_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of `register_adapter`, end to end; without the adapter the own class fails."""
    monkeypatch.setattr(attributes, "_REGISTRY", dict(attributes._REGISTRY))
    row = Row(lambda: (nn.Sequential(OwnAttention(12, 3), nn.Linear(12, 2)), tokens()), OWN)
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        check(row)

    @register_adapter(OwnAttention, attributes=("heads",))
    def _heads(cut: Cut) -> Mapping[str, int]:
        return {"heads": cut.after["q.weight"][0] // cut.module.depth}  # type: ignore[operator]

    check(row)


OWN = [("0.q.weight", 3), ("0.proj.weight", 12)]
