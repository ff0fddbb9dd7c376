"""Ratios by name, restricted graphs, and the messages about patterns."""

import numpy as np
import pytest

from autoprune.allocation import explicit, restrict, uniform
from autoprune.errors import ArgumentError, BudgetError
from tests.allocation.nets import make_task
from tests.budget import graphs

GRAPH = graphs.padded_resnet(2)  # groups 0.0 0.1 1.0 1.1 2.0 2.1 of 16 16 32 32 64 64 units; locked streams

TABLE = [
    ({"*": 0.5}, {}, [8, 8, 16, 16, 32, 32]),
    ({"*": 0.5, "1.0": 1.0}, {}, [8, 8, 32, 16, 32, 32]),
    ({"1.0": 1.0, "*": 0.5}, {}, [8, 8, 16, 16, 32, 32]),
    ({"2.*": 0.25, "?.1": 0.75}, {}, [16, 12, 32, 24, 16, 48]),
    ({"[01].0": 0.33}, {}, [5, 16, 10, 32, 64, 64]),
    ({"*": 0.4}, {"round_to": 8}, [8, 8, 8, 8, 24, 24]),
    ({"0.0": 0.5}, {"upper": 0.75}, [8, 12, 24, 24, 48, 48]),
    ({}, {}, [16, 16, 32, 32, 64, 64]),
    ({"*": 0.1}, {}, [2, 2, 4, 4, 7, 7]),
    ({"0.*": 0.1}, {"lower": 0.0}, [1, 1, 32, 32, 64, 64]),
]


@pytest.mark.parametrize(("ratios", "settings", "expected"), TABLE)
def test_widths(ratios: dict[str, float], settings: dict[str, float], expected: list[int]) -> None:
    assert explicit(make_task(GRAPH, "macs=100%", **settings), ratios).tolist() == expected


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"0.7": 0.5}, r"ratios: no group matches '0.7'; did you mean '0.0'\? \(known: 0.0, 0.1, 1.0"),
        ({"3.*": 0.5}, "ratios: no group matches '3.\\*'; did you mean"),
        ({"stem": 0.5}, r"'stem' must match a group that can be pruned, but 'stem' is locked \(padded\)"),
        ({"*": 0.0}, r"ratios\['\*'\] must lie in \(0, 1\], the share that stays, got 0.0"),
        ({"*": 1.5}, "must lie in"),
        ({"*": float("nan")}, "must lie in"),
        ({"*": True}, "must lie in"),
        ({"*": "half"}, "must lie in .* got 'half'"),
        (
            {"*": 0.05},
            r"ratios\['\*'\]=0.05 leaves 0.8 of the 16 units of '0.0', which is below lower=0.1 or",
        ),
    ],
)
def test_refuses_ratios(ratios: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        explicit(make_task(GRAPH, "macs=100%"), ratios)


def test_the_budget_is_hard() -> None:
    task = make_task(GRAPH, "macs=50%")
    assert task.budget.holds(explicit(task, {"*": 0.4}))
    with pytest.raises(
        BudgetError, match="must meet the budget 'macs=50%', but they give macs .* lower some"
    ):
        explicit(task, {"*": 0.9})


def test_a_locked_group_is_passed_over_where_a_pattern_matches_others_too() -> None:
    assert explicit(make_task(GRAPH, "macs=100%"), {"*": 0.5}).shape == (6,)


RESTRICTED = [
    ({}, ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]),
    ({"exclude": ("0.*",)}, ["1.0", "1.1", "2.0", "2.1"]),
    ({"include": ("?.0",)}, ["0.0", "1.0", "2.0"]),
    ({"include": ("?.0", "0.1"), "exclude": ("0.0",)}, ["0.1", "1.0", "2.0"]),
]


@pytest.mark.parametrize(("arguments", "expected"), RESTRICTED)
def test_restrict(arguments: dict[str, tuple[str, ...]], expected: list[str]) -> None:
    graph = restrict(GRAPH, **arguments)
    assert [g.name for g in graph.prunable] == expected
    assert graph.macs() == GRAPH.macs()
    task = make_task(graph, "macs=80%")
    full = graph.widths(task.widths(uniform(task)))
    assert all(full[g.name] == g.size for g in graph.groups if g.name not in expected)
    gone = {
        g.name: g.reason for g in graph.groups if g.name in dict.fromkeys(("0.0", "0.1")) and not g.prunable
    }
    assert set(gone.values()) <= {"excluded", "not included"}


def test_nothing_to_restrict_gives_the_same_graph() -> None:
    assert restrict(GRAPH) is GRAPH


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exclude": ("1.x",)}, r"exclude: no group matches '1.x'; did you mean '1.0'\?"),
        ({"include": ("9*",)}, "include: no group matches '9"),
        ({"exclude": ("*",)}, "must leave a group to prune, but all 6 would stay dense"),
        ({"include": ("0.0",), "exclude": ("0.0",)}, "must leave a group to prune"),
        ({"exclude": "0.0"}, "exclude must be a sequence of names or patterns such as .*, got '0.0'"),
        ({"exclude": (3,)}, "exclude must be a sequence of names"),
        ({"exclude": ("stem",)}, "'stem' is locked"),
    ],
)
def test_refuses_patterns(arguments: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        restrict(GRAPH, **arguments)


def test_a_long_list_of_names_is_cut() -> None:
    with pytest.raises(ArgumentError, match=r"known: 0.0, .*, \.\.\.\)"):
        restrict(graphs.padded_resnet(9), exclude=("x",))


def test_the_vector_is_new() -> None:
    task = make_task(GRAPH, "macs=100%")
    found = explicit(task, {})
    found[:] = 1
    assert np.array_equal(task.max_widths, task.sizes)
