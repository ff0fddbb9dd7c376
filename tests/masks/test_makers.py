"""Mask makers against a slow plain reference, counted unit by unit."""

import math
from collections import defaultdict
from itertools import product

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.errors import ArgumentError, MaskError
from autoprune.masks import (
    GRANULARITIES,
    NM,
    Block,
    Filter,
    Granularity,
    Masks,
    Units,
    Weight,
    WindowedNM,
    follows,
    global_masks,
    granularity,
    layer_masks,
)

UNIT_OF = {
    "weight": lambda i: i,
    "row": lambda i: i[:-1],
    "column": lambda i: (*i[:-2], i[-1]),
    "kernel": lambda i: i[:2],
    "filter": lambda i: i[:1],
    "channel": lambda i: i[1:2],
    "2x2": lambda i: (i[0] // 2, i[1] // 2, *i[2:]),
    "3x1": lambda i: (i[0] // 3, i[1], *i[2:]),
    "1x4": lambda i: (i[0], i[1] // 4, *i[2:]),
}
SHAPES = [(5,), (3, 7), (4, 8), (2, 3, 3), (4, 3, 2, 3), (5, 4, 1, 1), (1, 1)]
FEWEST = {"weight": 0, "row": 2, "column": 2, "kernel": 3, "filter": 1}


def cases(names: list[str]) -> list[tuple[str, tuple[int, ...]]]:
    return [(n, s) for n in names for s in SHAPES if len(s) >= FEWEST.get(n, 2)]


def scores_of(shape: tuple[int, ...], values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def draw_scores(data: st.DataObject, shape: tuple[int, ...]) -> Tensor:
    """Small whole numbers, so that equal scores are frequent and sums are exact."""
    n = math.prod(shape)
    return scores_of(shape, data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)))


def units_of(name: str, scores: Tensor) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    units = defaultdict(list)
    for index in product(*map(range, scores.shape)):
        units[UNIT_OF[name](index)].append(index)
    return dict(sorted(units.items()))


def plain_masks(name: str, scores: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Sort all units by mean score, keep the first so many: no tensor operation, no trick."""
    units = [(t, cells) for t, s in scores.items() for cells in units_of(name, s).values()]
    mean = [sum(float(scores[t][c]) for c in cells) / len(cells) for t, cells in units]
    ranking = sorted(range(len(units)), key=lambda u: (-mean[u], u))
    masks = {t: torch.zeros(s.shape, dtype=torch.bool) for t, s in scores.items()}
    for unit in ranking[: len(units) - round(sparsity * len(units))]:
        tensor, cells = units[unit]
        for cell in cells:
            masks[tensor][cell] = True
    return masks


@pytest.mark.parametrize(("name", "shape"), cases(list(UNIT_OF)))
@settings(max_examples=12, deadline=None)
@given(data=st.data(), sparsity=st.floats(0, 1))
def test_units_follow_the_plain_reference(
    name: str, shape: tuple[int, ...], data: st.DataObject, sparsity: float
) -> None:
    scores = draw_scores(data, shape)
    mask = granularity(name).mask(scores, sparsity)
    assert mask.dtype == torch.bool and mask.is_contiguous()
    assert torch.equal(mask, plain_masks(name, {"w": scores}, sparsity)["w"])


@pytest.mark.parametrize("name", list(UNIT_OF))
@settings(max_examples=15, deadline=None)
@given(data=st.data(), sparsity=st.floats(0, 1))
def test_exactly_the_stated_number_of_whole_units_stays(
    name: str, data: st.DataObject, sparsity: float
) -> None:
    shape = data.draw(st.sampled_from([s for n, s in cases([name]) if n == name]))
    scores = draw_scores(data, shape)
    mask = granularity(name).mask(scores, sparsity)
    states = [{bool(mask[c]) for c in cells} for cells in units_of(name, scores).values()]
    assert all(len(state) == 1 for state in states), "a unit is torn"
    assert sum(state == {True} for state in states) == len(states) - round(sparsity * len(states))


@pytest.mark.parametrize("name", ["weight", "kernel", "filter", "2x2"])
@settings(max_examples=12, deadline=None)
@given(data=st.data(), sparsity=st.floats(0, 1))
def test_a_global_ranking_follows_the_plain_reference(
    name: str, data: st.DataObject, sparsity: float
) -> None:
    scores = {str(i): draw_scores(data, s) for i, s in enumerate([(3, 2, 2, 2), (2, 3, 1, 3), (1, 4, 1, 1)])}
    masks = global_masks(scores, sparsity, granularity(name))
    expected = plain_masks(name, scores, sparsity)
    assert list(masks) == list(expected)
    assert all(torch.equal(masks[n], expected[n]) for n in expected)


def plain_nm(scores: Tensor, n: int, m: int) -> Tensor:
    mask = torch.zeros(scores.shape, dtype=torch.bool)
    outputs, inputs, *kernel = scores.shape
    for out, position in product(range(outputs), product(*map(range, kernel))):
        for start in range(0, inputs, m):
            window = [(out, i, *position) for i in range(start, min(start + m, inputs))]
            for cell in sorted(window, key=lambda c: (-float(scores[c]), c))[:n]:
                mask[cell] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    m=st.integers(1, 9),
    shape=st.sampled_from([(2, 8), (3, 7), (2, 16), (1, 3), (2, 6, 3), (2, 9, 2, 2)]),
)
def test_nm_keeps_exactly_n_in_every_window(data: st.DataObject, m: int, shape: tuple[int, ...]) -> None:
    n = data.draw(st.integers(1, m))
    scores = draw_scores(data, shape)
    mask = NM(n, m).mask(scores)
    assert torch.equal(mask, plain_nm(scores, n, m))
    assert follows(mask, n, m)
    for start in range(0, shape[1], m):
        window = mask[:, start : start + m]
        assert (window.sum(1) == min(n, window.shape[1])).all()


def test_two_of_four_by_hand() -> None:
    scores = torch.tensor([[4.0, 1, 3, 2, 5, 5, 5, 5], [0, 0, 0, 1, 1, 2, 3, 4]])
    expected = torch.tensor([[1, 0, 1, 0, 1, 1, 0, 0], [1, 0, 0, 1, 0, 0, 1, 1]], dtype=torch.bool)
    assert torch.equal(NM(2, 4).mask(scores), expected)
    assert torch.equal(NM(2, 4).mask(scores, 0.5), expected)
    assert not follows(torch.ones(2, 8, dtype=torch.bool), 2, 4)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), m=st.integers(1, 8), sparsity=st.floats(0, 1))
def test_the_family_chooses_n_by_the_sparsity(data: st.DataObject, m: int, sparsity: float) -> None:
    scores = draw_scores(data, (2, 3 * m))
    mask = WindowedNM(m).mask(scores, sparsity)
    assert (mask.reshape(2, 3, m).sum(-1) == m - round(sparsity * m)).all()


def test_infinite_scores_protect_and_doom() -> None:
    scores = torch.tensor([[-torch.inf, 0.0, torch.inf, -torch.inf, -torch.inf, -torch.inf]])
    assert NM(2, 4).mask(scores).tolist() == [[False, True, True, False, True, True]]
    assert NM(1, 4).mask(scores).tolist() == [[False, False, True, False, True, False]]
    assert Weight().mask(scores, 0.5).tolist() == [[True, True, True, False, False, False]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.uint8])
def test_any_number_type_ranks(dtype: torch.dtype) -> None:
    scores = torch.arange(16).reshape(2, 8).to(dtype)
    assert Weight().mask(scores, 0.25).sum() == 12
    assert not Weight().mask(scores, 0.25)[0, :4].any()
    assert NM(2, 4).mask(scores).tolist() == [[False, False, True, True] * 2] * 2


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.Flatten(), nn.Linear(20, 7))


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in net.named_parameters() if p.dim() >= 2}


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.35, 0.5, 0.9, 1.0])
def test_equal_to_torch_unstructured(amount: float) -> None:
    net = small_net()
    masks = layer_masks({n: w.abs() for n, w in weights(net).items()}, amount)
    for module, name in [(net[0], "0.weight"), (net[2], "2.weight"), (net[4], "4.weight")]:
        prune.l1_unstructured(module, "weight", amount)
        assert torch.equal(masks[name], module.weight_mask.bool())


@pytest.mark.parametrize("amount", [0.1, 0.35, 0.5, 0.9])
def test_equal_to_torch_global(amount: float) -> None:
    net = small_net()
    masks = global_masks({n: w.abs() for n, w in weights(net).items()}, amount)
    places = [(net[i], "weight") for i in (0, 2, 4)]
    prune.global_unstructured(places, prune.L1Unstructured, amount=amount)
    for module, name in zip((net[0], net[2], net[4]), masks, strict=True):
        assert torch.equal(masks[name], module.weight_mask.bool())


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("name", "dim"), [("filter", 0), ("channel", 1)])
def test_equal_to_torch_structured(name: str, dim: int, power: int, amount: float) -> None:
    for module in (nn.Conv2d(8, 12, 3), nn.Linear(10, 9), nn.Conv1d(5, 6, 2)):
        mask = granularity(name).mask(module.weight.abs() ** power, amount)
        prune.ln_structured(module, "weight", amount, n=power, dim=dim)
        assert torch.equal(mask, module.weight_mask.bool())


def test_shares_per_layer() -> None:
    scores = {"a": torch.rand(4, 4), "b": torch.rand(2, 10)}
    masks = layer_masks(scores, {"b": 0.5, "a": 0.25})
    assert list(masks) == ["a", "b"]
    assert masks.sparsities == {"a": 0.25, "b": 0.5}
    assert layer_masks(scores, None, NM(1, 2)).sparsity == 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["weight", "kernel", "filter", "2x2"]))
def test_iterative_pruning_never_revives_and_counts_in_all(seed: int, name: str) -> None:
    chance = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 4, 3, 3), "b": (4, 6, 1, 1)}
    kind = granularity(name)
    assert isinstance(kind, Units)
    earlier: Masks | None = None
    for sparsity in (0.3, 0.6, 0.9):
        scores = {n: torch.rand(s, generator=chance) for n, s in shapes.items()}
        masks = global_masks(scores, sparsity, kind, within=earlier)
        if earlier is not None:
            assert masks == masks & earlier
        units = sum(kind.pool(s).numel() for s in scores.values())
        kept = sum(int(kind.pool(masks[n].double()).sum()) for n in shapes)
        assert kept == units - round(sparsity * units)
        earlier = masks


def test_earlier_masks_of_other_tensors_are_carried_on() -> None:
    earlier = Masks({"b": torch.tensor([True, False])})
    assert layer_masks({"a": torch.rand(4, 4)}, 0.5, within=earlier)["b"].tolist() == [True, False]
    with pytest.raises(MaskError, match="within\\['b'\\] has shape"):
        layer_masks({"b": torch.rand(3)}, 0.5, within=earlier)


@pytest.mark.parametrize(
    "name", ["weight", "row", "column", "kernel", "filter", "channel", "4x2", "2:4", "n:8"]
)
def test_names_make_what_they_say(name: str) -> None:
    assert granularity(name).name == name
    assert granularity(f" {name.upper()} ") == granularity(name)
    assert name in repr(granularity(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kernal", "no granularity 'kernal'; did you mean 'kernel'\\?; there are: weight, row"),
        ("unheard-of", "no granularity 'unheard-of'; there are: weight"),
        ("2:", "no granularity '2:'"),
        ("4:2", "1 <= N <= M, got 4:2"),
        ("0:4", "1 <= N <= M, got 0:4"),
        ("n:0", "got M = 0"),
        ("0x4", "at least one row and one column, got 0x4"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        granularity(name)


def test_every_known_form_is_listed() -> None:
    assert len(GRANULARITIES) == 9


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None])
@pytest.mark.parametrize("kind", [Weight(), Block(2, 2), WindowedNM(4)])
def test_a_sparsity_outside_0_to_1_is_refused(kind: Granularity, sparsity: object) -> None:
    with pytest.raises(ArgumentError, match="sparsity must be"):
        layer_masks({"a": torch.rand(4, 4)}, sparsity, kind)  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    square = {"a": torch.rand(4, 4)}
    with pytest.raises(ArgumentError, match="use layer_masks"):
        global_masks(square, 0.5, NM(2, 4))
    with pytest.raises(ArgumentError, match="sparsity must be a share"):
        global_masks(square, 2.0)
    with pytest.raises(ArgumentError, match="only one has 'b'"):
        layer_masks(square, {"a": 0.5, "b": 0.5})
    with pytest.raises(ArgumentError, match=r"sparsity\['a'\] must be a share"):
        layer_masks(square, {"a": 1.5})
    with pytest.raises(ArgumentError, match=r"must be 0\.5 \(or left out\) for the pattern 2:4, got 0\.6"):
        layer_masks(square, 0.6, NM(2, 4))
    with pytest.raises(ArgumentError, match="must not hold NaN"):
        Weight().mask(torch.tensor([1.0, math.nan]), 0.5)
    with pytest.raises(ArgumentError, match="both inf and -inf within one unit"):
        Filter().mask(torch.tensor([[math.inf, -math.inf]]), 0.5)
    assert global_masks({}, 0.5) == Masks({})


@pytest.mark.parametrize("name", ["row", "kernel", "channel", "2x2", "2:4", "n:4"])
def test_too_few_dimensions(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"must have at least \d dimensions.*got shape \(4,\)"):
        granularity(name).mask(torch.rand(4), 0.5)
