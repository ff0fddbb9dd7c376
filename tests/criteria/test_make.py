"""Criteria from text."""

import pytest
from torch import nn

from autoprune.criteria import (
    CRITERIA,
    L1,
    WRAPPERS,
    FlopsRegularized,
    LayerL2,
    LayerRank,
    Magnitude,
    make_criterion,
)  # fmt: skip
from autoprune.errors import ArgumentError


@pytest.mark.parametrize("name", CRITERIA)
def test_every_name_makes_its_criterion(name: str) -> None:
    assert type(make_criterion(name)) is CRITERIA[name]
    assert make_criterion(name).name == name


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_wraps(name: str) -> None:
    made = make_criterion(f"{name}(l1)")
    assert type(made) is WRAPPERS[name] and made.name == f"{name}(l1)"


def test_compositions_are_read() -> None:
    made = make_criterion(" flops( layer_l2(magnitude(3)) , 2.5e-07) ")
    assert isinstance(made, FlopsRegularized) and made.strength == 2.5e-7
    assert isinstance(made.criterion, LayerL2)
    assert isinstance(made.criterion.criterion, Magnitude) and made.criterion.criterion.p == 3
    assert isinstance(make_criterion("layer_rank(l1)"), LayerRank)


def test_objects_stay_themselves() -> None:
    given = LayerL2(L1())
    assert make_criterion(given) is given


@pytest.mark.parametrize(
    ("name", "hint"),
    [("ob", "obs"), ("l3", "l1|l2"), ("rndom", "random"), ("layer2", "layer_l2"), ("tailor", "taylor")],
)
def test_unknown_names_get_the_nearest_and_the_list(name: str, hint: str) -> None:
    with pytest.raises(ArgumentError, match=f"got '{name}'; did you mean '({hint})'") as info:
        make_criterion(name)
    assert all(known in str(info.value) for known in (*CRITERIA, *WRAPPERS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got ''"),
        ("layer_l2(l3)", r"got 'l3' in 'layer_l2\(l3\)'; did you mean"),
        ("zzzz", "got 'zzzz'$"),
        ("l1(2)", r"l1 takes \(\), got \(2\)"),
        ("magnitude(l1)", r"magnitude takes \(p\), got \(l1\)"),
        ("magnitude(1, 2)", r"magnitude takes \(p\), got \(1, 2\)"),
        ("magnitude(0)", "p must be a finite number above 0, got 0.0"),
        ("layer_l2", r"layer_l2 takes \(criterion\), got \(\)"),
        ("layer_l2(1)", r"layer_l2 takes \(criterion\), got \(1\)"),
        ("layer_l2(l1, l2)", r"layer_l2 takes \(criterion\), got \(l1, l2\)"),
        ("layer_l2()", r"must stand in place of '\)'"),
        ("flops(l1,", "must stand in place of 'the end'"),
        ("flops(l1, 1x)", "'1x' is no number"),
        ("flops(l1, l2)", r"flops takes \(criterion, strength\), got \(l1, l2\)"),
        ("flops(l1, -1)", "strength must be a finite number of at least 0, got -1"),
        ("layer_l2(l1", r"'\)' must close the arguments, got 'the end'"),
        ("layer_l2(l1))", r"nothing may follow it, but '\)' does"),
        ("l1 l2", "nothing may follow it, but 'l2' does"),
        ("l1;", "nothing may follow it, but ';' does"),
        ("__import__('os')", "got '__import__'"),
    ],
)
def test_bad_text_is_explained(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make_criterion(text)


@pytest.mark.parametrize("given", [None, 1, L1, nn.ReLU()])
def test_other_objects_are_refused(given: object) -> None:
    with pytest.raises(ArgumentError, match="criterion must be a name or a Criterion object, got"):
        make_criterion(given)
