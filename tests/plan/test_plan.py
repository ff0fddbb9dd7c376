import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from autoprune.errors import ArgumentError, PlanError
from autoprune.graph import trace
from autoprune.plan import Plan, make_plan
from tests.surgery.nets import CASES, random_keep


def example() -> Plan:
    model, inputs = CASES["mobile"].model(), CASES["mobile"].inputs()
    graph = trace(model, inputs)
    info = {
        "criterion": "obs",
        "seed": 3,
        "budget": "macs=50%",
        "ratio": 0.1,
        "list": [[1, 2], "a [1,\n 2] b"],
    }
    return make_plan(graph, model, random_keep(graph, 0, 0.5), info)


PLAN = example()
JSON: dict[str, Any] = json.loads(PLAN.to_json())


def test_round_trip(tmp_path: Path) -> None:
    PLAN.save(tmp_path / "plan.json")
    loaded = Plan.load(str(tmp_path / "plan.json"))
    assert loaded == PLAN
    assert loaded.to_json() == PLAN.to_json()
    assert loaded.info == PLAN.info and list(loaded.fingerprint) == list(PLAN.fingerprint)


def test_lists_of_numbers_take_one_line_each() -> None:
    assert max(len(v) for v in JSON["fingerprint"].values()) == 4
    assert not any(line.strip(" ,").isdigit() for line in PLAN.to_json().splitlines())


def test_it_is_frozen_and_knows_its_widths() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PLAN.version = 2
    assert PLAN.widths == {name: len(group.keep) for name, group in PLAN.groups.items()}
    assert all(len(group.keep) < group.size for group in PLAN.groups.values())


def test_repr_is_a_table() -> None:
    lines = repr(PLAN).splitlines()
    assert lines[0].split() == ["group", "stays", "of", "share"]
    rows = [line.split() for line in lines[1 : 1 + len(PLAN.groups)]]
    assert [(r[0], int(r[1]), int(r[2])) for r in rows] == [
        (name, len(g.keep), g.size) for name, g in PLAN.groups.items()
    ]
    assert f"params: {PLAN.costs.found['params']:,} of {PLAN.costs.dense['params']:,}" in repr(PLAN)
    assert "criterion: obs" in lines


def test_a_plan_that_prunes_nothing() -> None:
    model, inputs = CASES["mlp"].model(), CASES["mlp"].inputs()
    graph = trace(model, inputs)
    plan = make_plan(graph, model, {g.name: range(g.size) for g in graph.prunable})
    assert plan.groups == {} and plan.slices == {} and plan.modules == {} and plan.widths == {}
    assert plan.costs.dense == plan.costs.found
    assert repr(plan).startswith("group")


def edited(*path: Any, to: Any = None, drop: bool = False) -> str:
    data = json.loads(PLAN.to_json())
    place = data
    for key in path[:-1]:
        place = place[key]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(data)


GROUP = next(iter(PLAN.groups))
TENSOR = next(iter(PLAN.slices))
DIM = str(next(iter(PLAN.slices[TENSOR])))
SIZE = PLAN.groups[GROUP].size
FAULTS: dict[str, tuple[str, str]] = {
    "empty": ("", "truncated or damaged"),
    "truncated": (PLAN.to_json()[:-40], "truncated or damaged"),
    "no object": ("[1, 2]", "must hold a JSON object, got list"),
    "no version": (edited("version", drop=True), "has version None"),
    "new version": (edited("version", to=2), "has version 2, this autoprune reads version 1"),
    "bool version": (edited("version", to=True), "has version True"),
    "no slices": (edited("slices", drop=True), "damaged at slices: Field required"),
    "extra": (edited("code", to="rm"), "damaged at code"),
    "text for number": (edited("groups", GROUP, "size", to="8"), f"damaged at groups.{GROUP}.size"),
    "fraction": (edited("groups", GROUP, "keep", to=[0.5]), f"groups.{GROUP}.keep.0"),
    "bool": (edited("groups", GROUP, "keep", to=[False, True]), f"groups.{GROUP}.keep.0"),
    "negative": (edited("groups", GROUP, "keep", to=[-1, 1]), f"groups.{GROUP}.keep.0"),
    "unsorted": (
        edited("groups", GROUP, "keep", to=[1, 0]),
        "must ascend without repetition, got 1 before 0",
    ),
    "repeated": (edited("slices", TENSOR, DIM, to=[1, 1]), "must ascend without repetition, got 1 before 1"),
    "empty keep": (edited("groups", GROUP, "keep", to=[]), "at least 1 item"),
    "unit too large": (
        edited("groups", GROUP, "keep", to=[0, SIZE]),
        f"must lie in 0..{SIZE - 1}, got {SIZE}",
    ),
    "index too large": (
        edited("slices", TENSOR, DIM, to=[0, 99]),
        f"slices['{TENSOR}'][{DIM}]: indices must lie",
    ),
    "no such dimension": (edited("slices", TENSOR, "7", to=[0]), "dimension 7"),
    "no such tensor": (edited("slices", "nowhere", to={"0": [0]}), "'nowhere'"),
    "attribute of text": (edited("modules", "stem", to={"out_channels": "8"}), "modules.stem.out_channels"),
    "attribute of zero": (edited("modules", "stem", to={"out_channels": 0}), "modules.stem.out_channels"),
    "negative cost": (edited("costs", "found", "macs", to=-5), "costs.found.macs"),
    "not a number": (edited("costs", "found", "macs", to=float("nan")), "costs.found.macs"),
}


@pytest.mark.parametrize(("text", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(PlanError) as error:
        Plan.load(path)
    assert str(path) in str(error.value) and words in str(error.value)
    assert "\n" not in str(error.value) and path.read_text() == text


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "not UTF-8"),
        (lambda path: path.write_text("[" * 100_000), "truncated or damaged"),
    ],
)
def test_a_file_that_is_no_text_is_refused(
    tmp_path: Path, prepare: Callable[[Path], object], words: str
) -> None:
    prepare(tmp_path / "plan.json")
    with pytest.raises(PlanError, match=words):
        Plan.load(tmp_path / "plan.json")


@given(st.data())
def test_any_cut_of_the_file_is_noticed(data: st.DataObject) -> None:
    text = PLAN.to_json().rstrip()
    with pytest.raises(PlanError):
        Plan.from_json(text[: data.draw(st.integers(0, len(text) - 1))])


def refusals() -> dict[str, tuple[Any, str]]:
    return {
        "unknown": ({"nowhere": [0]}, "no group named 'nowhere'"),
        "locked": ({"head.weight": [0]}, "locked"),
        "outside": ({GROUP: [0, SIZE]}, f"0..{SIZE - 1}"),
        "repeated": ({GROUP: [1, 1]}, "distinct"),
        "none": ({GROUP: []}, "at least one"),
        "widths": ([3, 4], "must map group names to unit indices, got list"),
    }


@pytest.mark.parametrize(("keep", "words"), refusals().values(), ids=refusals().keys())
def test_a_bad_keep_is_refused(keep: Any, words: str) -> None:
    model, inputs = CASES["mobile"].model(), CASES["mobile"].inputs()
    graph = trace(model, inputs)
    with pytest.raises(ArgumentError) as error:
        make_plan(graph, model, keep)
    assert words in str(error.value)


@pytest.mark.parametrize("info", [{"model": nn.ReLU()}, {"loss": float("nan")}])
def test_info_must_be_json(info: dict[str, Any]) -> None:
    model, inputs = CASES["mlp"].model(), CASES["mlp"].inputs()
    with pytest.raises(PlanError, match="info must hold only"):
        make_plan(trace(model, inputs), model, {}, info)
