"""The store: algebra, apply and remove without trace, files."""

import copy
import pickle
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from autoprune.errors import ArgumentError, MaskError
from autoprune.masks import Masks

SHAPES = {"a": (3, 5), "b": (7,), "c": (2, 1, 3, 3), "d": (), "e": (0, 4)}


@st.composite
def some_masks(draw: st.DrawFn) -> Masks:
    names = draw(st.sets(st.sampled_from(list(SHAPES))))
    chance = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    level = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    return Masks({n: torch.rand(SHAPES[n], generator=chance) < level for n in sorted(names)})


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))


def half(model: nn.Module, seed: int = 0) -> Masks:
    chance = torch.Generator().manual_seed(seed)
    return Masks({n: torch.rand(p.shape, generator=chance) < 0.5 for n, p in model.named_parameters()})


def bits(model: nn.Module) -> dict[str, bytes]:
    return {n: t.contiguous().numpy().tobytes() for n, t in model.state_dict().items()}


@settings(max_examples=60, deadline=None)
@given(some_masks(), some_masks(), some_masks())
def test_boolean_algebra(x: Masks, y: Masks, z: Masks) -> None:
    assert x & y == y & x and x | y == y | x
    assert (x & y) & z == x & (y & z) and (x | y) | z == x | (y | z)
    assert x & (y | z) == (x & y) | (x & z)
    assert x & (x | y) == x and x | (x & y) == x
    assert x & x == x == x | x
    nothing = Masks({})
    assert x & nothing == x and x | nothing == nothing


@settings(max_examples=40, deadline=None)
@given(some_masks())
def test_save_load_copy_pickle(tmp_path_factory: pytest.TempPathFactory, masks: Masks) -> None:
    path = tmp_path_factory.mktemp("masks") / "m.safetensors"
    masks.save(path)
    for other in (Masks.load(path), copy.deepcopy(masks), pickle.loads(pickle.dumps(masks))):
        assert other == masks
        assert list(other) == list(masks)
        assert all(torch.equal(other[n], masks[n]) and other[n].shape == masks[n].shape for n in masks)


def test_a_file_holds_eight_weights_in_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.safetensors"
    Masks({"w": torch.rand(1000, 800) < 0.5}).save(path)
    assert path.stat().st_size < 100_000 + 1_000


def test_masks_that_are_true_everywhere_make_no_difference() -> None:
    assert Masks({"a": torch.ones(3, dtype=torch.bool)}) == Masks({})
    assert Masks({"a": torch.zeros(3, dtype=torch.bool)}) != Masks({})
    assert Masks({"a": torch.zeros(3, dtype=torch.bool)}) != Masks({"a": torch.zeros(2, dtype=torch.bool)})
    assert Masks({}) != 3


def test_counts() -> None:
    masks = Masks({"a": torch.tensor([True, False, False, False]), "b": torch.tensor([True, True])})
    assert (masks.total, masks.kept, masks.sparsity) == (6, 3, 0.5)
    assert masks.sparsities == {"a": 0.75, "b": 0.0}
    assert repr(masks) == "Masks(2 tensors, 6 weights, 50.00% sparse)"
    assert (Masks({}).sparsity, len(Masks({}))) == (0.0, 0)


def test_the_store_owns_its_tensors() -> None:
    mask = torch.ones(3, dtype=torch.bool)
    masks = Masks({"a": mask})
    mask[0] = False
    assert masks["a"].all()


def test_remove_restores_every_bit() -> None:
    model = net()
    with torch.no_grad():
        odd = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])
        model[0].weight.view(-1)[:4] = odd
        model[0].weight.view(torch.int32).view(-1)[4] = 0x7FC01234  # a NaN with a payload
    before, attributes = bits(model), copy.deepcopy([sorted(m.__dict__) for m in model.modules()])
    masks = half(model)
    masks = masks & Masks({"0.weight": torch.arange(108).reshape(4, 3, 3, 3) > 20})
    with masks.apply(model):
        assert all(not p[~masks[n]].any() for n, p in model.named_parameters())
        assert bits(model) != before
    assert bits(model) == before
    assert [sorted(m.__dict__) for m in model.modules()] == attributes


def test_remove_is_idempotent_and_nests() -> None:
    model = net()
    before = bits(model)
    outer = half(model, 1).apply(model)
    between = bits(model)
    inner = half(model, 2).apply(model)
    inner.remove()
    inner.remove()
    assert bits(model) == between
    outer.remove()
    assert bits(model) == before


def test_weights_that_stayed_keep_what_they_learned() -> None:
    model = net()
    masks = half(model)
    dense = copy.deepcopy(model.state_dict())
    with masks.apply(model), torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    for name, p in model.named_parameters():
        assert torch.equal(p, torch.where(masks[name], dense[name] + 1, dense[name]))


def test_remove_after_the_model_was_moved_or_reloaded() -> None:
    model = net()
    before = bits(model)
    with half(model).apply(model):
        model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert bits(model) == before
    with half(model).apply(model):
        model.double()
    assert bits(model.float()) == before


def test_an_error_inside_still_removes() -> None:
    model = net()
    before = bits(model)
    with pytest.raises(RuntimeError, match="inside"), half(model).apply(model):
        raise RuntimeError("inside")
    assert bits(model) == before


def test_bake_is_for_good() -> None:
    model, other = net(), net()
    masks = half(model)
    applied = masks.apply(model)
    applied.bake()
    applied.remove()
    masks.bake(other)
    for m in (model, other):
        assert all(not p[~masks[n]].any() for n, p in m.named_parameters())
        assert m[0].weight[masks["0.weight"]].all()
    assert Masks.from_zeros(model) == Masks({n: masks[n] for n in ("0.weight", "4.weight")})


def test_masked_models_survive_deepcopy_and_state_dict() -> None:
    model = net()
    masks = half(model)
    masks.bake(model)
    fresh = net()
    fresh.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), fresh):
        assert all(not p[~masks[n]].any() for n, p in other.named_parameters())


def test_shared_weights_restore() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    before = bits(model)
    masks = Masks({"0.weight": torch.eye(4) > 0, "1.weight": torch.ones(4, 4).tril() > 0})
    with masks.apply(model):
        assert not (model[0].weight * (1 - torch.eye(4))).any()
    assert bits(model) == before


def mask(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.bool)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"0.weight": mask(4, 3, 3, 3), "4.wieght": mask(5, 16)}, "'4.wieght'.* did you mean '4.weight'"),
        ({"0.weight": mask(4, 3, 3, 3), "nowhere.at.all": mask(2)}, "'nowhere.at.all'\\] names no tensor"),
        ({"4.weight": mask(5, 16), "0.weight": mask(4, 3, 3)}, r"shape \(4, 3, 3\) but .*\(4, 3, 3, 3\)"),
    ],
)
@pytest.mark.parametrize("use", ["apply", "bake", "enforce"])
def test_masks_of_another_network_are_refused_before_any_change(
    masks: dict[str, Tensor], message: str, use: str
) -> None:
    model = net()
    before = bits(model)
    with pytest.raises(MaskError, match=message):
        getattr(Masks(masks), use)(model)
    assert bits(model) == before


def test_bad_masks() -> None:
    with pytest.raises(ArgumentError, match=r"masks\['w'\] must be a bool tensor .*got torch.float32"):
        Masks({"w": torch.ones(3)})
    with pytest.raises(ArgumentError, match=r"masks\['w'\] must be a bool tensor .*got list"):
        Masks({"w": [True]})  # type: ignore[dict-item]
    with pytest.raises(MaskError, match="only masks of one network"):
        Masks({"w": mask(3)}) & Masks({"w": mask(4)})


def damaged(path: Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "flipped":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    elif how == "text":
        path.write_text("no safetensors")
    elif how == "foreign":
        save_file(load_file(path), path)
    elif how == "newer":
        save_file(load_file(path), path, {"format": "autoprune.masks", "version": "2"})
    elif how == "shapes":
        header = {"format": "autoprune.masks", "version": "1", "shapes": "[1, 2]", "sha256": ""}
        save_file(load_file(path), path, header)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "cannot be read"),
        ("flipped", "damaged: its checksum differs"),
        ("text", "cannot be read"),
        ("foreign", "no masks file"),
        ("newer", "version '2'"),
        ("shapes", "damaged"),
        ("missing", "cannot be read"),
    ],
)
def test_damaged_files(tmp_path: Path, how: str, message: str) -> None:
    path = tmp_path / "m.safetensors"
    Masks({"w": torch.rand(5, 5) < 0.5}).save(path)
    damaged(path, how)
    with pytest.raises(MaskError, match=f"m.safetensors.*{message}"):
        Masks.load(path)
