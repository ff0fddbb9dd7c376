from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import ArgumentError, ModelError
from autoprune.surgery import Cut, Slicer, allowed_attributes, register_adapter
from autoprune.surgery import attributes as registry
from autoprune.surgery.attributes import corrections
from autoprune.surgery.tensors import held_tensors

FIRST, EVEN = [0, 1, 2, 3], [0, 2, 4, 6]
NORM = ("weight", "bias", "running_mean", "running_var")


def one_dim(stays: list[int], *names: str) -> dict[str, dict[int, list[int]]]:
    return {name: {0: stays} for name in names}


Row = tuple[nn.Module, dict[str, dict[int, list[int]]], dict[str, int], dict[str, object], tuple[int, ...]]
TABLE: dict[str, Row] = {
    "conv1d out": (nn.Conv1d(8, 8, 3), one_dim(FIRST, "weight", "bias"), {}, {"out_channels": 4}, (2, 8, 9)),
    "conv2d in": (nn.Conv2d(8, 6, 3), {"weight": {1: EVEN}}, {}, {"in_channels": 4}, (2, 4, 9, 9)),
    "conv3d both": (
        nn.Conv3d(8, 8, 2, bias=False),
        {"weight": {0: EVEN, 1: [1]}},
        {},
        {"in_channels": 1, "out_channels": 4},
        (2, 1, 4, 4, 4),
    ),
    "depthwise": (
        nn.Conv2d(8, 8, 3, groups=8),
        one_dim(FIRST, "weight", "bias"),
        {"weight": 4},
        {"in_channels": 4, "out_channels": 4, "groups": 4},
        (2, 4, 9, 9),
    ),
    "depthwise with multiplier": (
        nn.Conv2d(4, 8, 3, groups=4),
        one_dim([0, 1, 6, 7], "weight", "bias"),
        {"weight": 2},
        {"in_channels": 2, "out_channels": 4, "groups": 2},
        (2, 2, 9, 9),
    ),
    "grouped, some of each": (
        nn.Conv2d(8, 8, 3, groups=2),
        {"weight": {0: [0, 1, 4, 5], 1: [0, 2]}, "bias": {0: [0, 1, 4, 5]}},
        {"weight": 2},
        {"in_channels": 4, "out_channels": 4},
        (2, 4, 9, 9),
    ),
    "grouped, the graph does not know it": (
        nn.Conv2d(8, 8, 3, groups=2),
        one_dim([0, 1, 4, 5], "weight", "bias"),
        {},
        {"out_channels": 4},
        (2, 8, 9, 9),
    ),
    "transposed in": (nn.ConvTranspose1d(8, 6, 3), {"weight": {0: EVEN}}, {}, {"in_channels": 4}, (2, 4, 9)),
    "transposed out": (
        nn.ConvTranspose2d(8, 8, 3),
        {"weight": {1: EVEN}, "bias": {0: EVEN}},
        {},
        {"out_channels": 4},
        (2, 8, 9, 9),
    ),
    "transposed grouped": (
        nn.ConvTranspose3d(8, 8, 2, groups=4),
        {"weight": {0: [0, 1, 6, 7]}, "bias": {0: [0, 1, 6, 7]}},
        {"weight": 2},
        {"in_channels": 4, "out_channels": 4, "groups": 2},
        (2, 4, 4, 4, 4),
    ),
    "linear": (
        nn.Linear(8, 6),
        {"weight": {0: [5], 1: EVEN}, "bias": {0: [5]}},
        {},
        {"in_features": 4, "out_features": 1},
        (2, 4),
    ),
    "batch norm": (nn.BatchNorm2d(8), one_dim(EVEN, *NORM), {}, {"num_features": 4}, (2, 4, 3, 3)),
    "batch norm, not affine": (
        nn.BatchNorm1d(8, affine=False),
        one_dim(EVEN, *NORM[2:]),
        {},
        {"num_features": 4},
        (2, 4),
    ),
    "instance norm": (
        nn.InstanceNorm2d(8, affine=True),
        one_dim(EVEN, *NORM[:2]),
        {},
        {"num_features": 4},
        (2, 4, 3, 3),
    ),
    "group norm, whole groups": (
        nn.GroupNorm(4, 8),
        one_dim([0, 1, 6, 7], "weight", "bias"),
        {},
        {"num_groups": 2, "num_channels": 4},
        (2, 4, 3, 3),
    ),
    "group norm, some of each": (
        nn.GroupNorm(4, 8),
        one_dim(EVEN, "weight", "bias"),
        {},
        {"num_channels": 4},
        (2, 4, 3, 3),
    ),
    "layer norm": (
        nn.LayerNorm((3, 8)),
        {"weight": {1: EVEN}, "bias": {1: EVEN}},
        {},
        {"normalized_shape": (3, 4)},
        (2, 3, 4),
    ),
    "rms norm": (nn.RMSNorm(8), one_dim(EVEN, "weight"), {}, {"normalized_shape": (4,)}, (2, 4)),
    "prelu": (nn.PReLU(8), one_dim(EVEN, "weight"), {}, {"num_parameters": 4}, (2, 4, 3)),
    "bilinear": (
        nn.Bilinear(8, 8, 8, bias=False),
        {"weight": {0: [1], 1: EVEN, 2: [0, 1]}},
        {},
        {"out_features": 1, "in1_features": 4, "in2_features": 2},
        (),
    ),
    "embedding": (nn.Embedding(9, 8), {"weight": {1: EVEN}}, {}, {"embedding_dim": 4}, ()),
    "embedding bag": (
        nn.EmbeddingBag(9, 8),
        {"weight": {0: FIRST, 1: EVEN}},
        {},
        {"num_embeddings": 4, "embedding_dim": 4},
        (),
    ),
}


def corrected(
    module: nn.Module, slices: Mapping[str, dict[int, list[int]]], groups: dict[str, int]
) -> object:
    return corrections({"": module}, held_tensors(module), slices, groups).get("", {})


@pytest.mark.parametrize(
    ("module", "slices", "groups", "expected", "shape"), TABLE.values(), ids=TABLE.keys()
)
def test_attributes_follow_the_tensors_and_the_module_runs(
    module: nn.Module,
    slices: dict[str, dict[int, list[int]]],
    groups: dict[str, int],
    expected: dict[str, object],
    shape: tuple[int, ...],
) -> None:
    new = corrected(module, slices, groups)
    assert new == expected
    small = Slicer(module)(slices, {"": new})
    for name, dims in slices.items():
        assert all(small.state_dict()[name].shape[dim] == len(stays) for dim, stays in dims.items())
    if shape:
        assert torch.isfinite(small(torch.randn(shape))).all()


def test_untouched_modules_and_equal_numbers_are_left_alone() -> None:
    """A kernel size or a stride that happens to equal the old width is no width."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3, stride=3, padding=3), nn.Conv2d(3, 3, 3))
    slices = {"0.weight": {0: [0, 2]}, "0.bias": {0: [0, 2]}, "1.weight": {1: [0, 2]}}
    new = corrections(
        dict(model.named_modules()), held_tensors(model), slices, {"0.weight": 1, "1.weight": 1}
    )
    assert new == {"0": {"out_channels": 2}, "1": {"in_channels": 2}}


def test_all_holders_of_a_shared_tensor_are_corrected() -> None:
    model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9, bias=False))
    model[1].weight = model[0].weight
    new = corrections(dict(model.named_modules()), held_tensors(model), {"0.weight": {1: EVEN}}, {})
    assert new == {"0": {"embedding_dim": 4}, "1": {"in_features": 4}}


@pytest.mark.parametrize(
    ("module", "slices", "groups", "words"),
    [
        (nn.Conv2d(8, 8, 3, groups=4), one_dim([0, 1, 2], "weight", "bias"), {}, "4 groups with 3 channels"),
        (nn.GroupNorm(4, 8), one_dim([0, 1, 2], "weight", "bias"), {}, "[2, 1, 0, 0] channels"),
    ],
)
def test_the_impossible_is_refused(
    module: nn.Module, slices: dict[str, dict[int, list[int]]], groups: dict[str, int], words: str
) -> None:
    with pytest.raises(ModelError) as error:
        corrected(module, slices, groups)
    assert words in str(error.value)


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.gain = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, self.width) * self.gain


class SpecialLinear(nn.Linear):
    pass


@pytest.fixture
def _private_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    yield


@pytest.mark.usefixtures("_private_registry")
def test_an_own_class_can_have_an_adapter() -> None:
    module, slices = Scale(8), one_dim(EVEN, "gain")
    assert corrected(module, slices, {}) == {} and allowed_attributes(module) == frozenset()

    @register_adapter(Scale, attributes=["width"])
    def _scale(cut: Cut) -> dict[str, int]:
        assert cut.before == {"gain": (8,)} and cut.after == {"gain": (4,)}
        return {"width": cut.after["gain"][0], "not_there": 1}

    assert corrected(module, slices, {}) == {"width": 4}
    assert allowed_attributes(module) == {"width"}
    assert Slicer(module)(slices, {"": {"width": 4}})(torch.randn(12)).shape == (3, 4)


@pytest.mark.usefixtures("_private_registry")
def test_the_nearest_class_wins() -> None:
    slices = {"weight": {1: EVEN}}
    assert corrected(SpecialLinear(8, 3), slices, {}) == {"in_features": 4}
    register_adapter(SpecialLinear, attributes=["in_features"])(lambda cut: {"in_features": 99})
    assert corrected(SpecialLinear(8, 3), slices, {}) == {"in_features": 99}
    assert corrected(nn.Linear(8, 3), slices, {}) == {"in_features": 4}


@pytest.mark.usefixtures("_private_registry")
def test_a_class_may_be_named() -> None:
    """So that adapters for other libraries import nothing."""
    name = f"{Scale.__module__}.{Scale.__qualname__}"
    register_adapter(name, attributes=["width"])(lambda cut: {"width": cut.after["gain"][0]})
    assert corrected(Scale(8), one_dim(EVEN, "gain"), {}) == {"width": 4}


def test_attention_of_another_library_is_known_by_name() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.attn_dim = 4, 8
            self.qkv, self.proj = nn.Linear(6, 24), nn.Linear(8, 6)

    assert corrected(Heads(), {"proj.weight": {1: (0, 1, 4, 5)}}, {}) == {}
    Heads.__module__, Heads.__qualname__ = "timm.layers.attention", "Attention"
    assert corrected(Heads(), {"proj.weight": {1: (0, 1, 4, 5)}}, {}) == {"num_heads": 2, "attn_dim": 4}
    assert corrected(Heads(), {"proj.weight": {1: (0, 1, 4)}}, {}) == {}, "half a head"
    assert corrected(Heads(), {"proj.weight": {0: (0, 1)}}, {}) == {}


def test_an_adapter_needs_a_class_and_attributes() -> None:
    with pytest.raises(ArgumentError, match="at least one"):
        register_adapter(attributes=["width"])
    with pytest.raises(ArgumentError, match="at least one"):
        register_adapter(Scale, attributes=[])
