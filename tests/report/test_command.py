import ast
import shlex
from itertools import pairwise
from typing import Any

import pytest
import typer.main

from autoprune.cli.app import app
from autoprune.report.command import command
from tests.report.made import SIZES, config


def words(**settings: Any) -> list[str]:
    return shlex.split(command(config(SIZES, **settings)).replace("\\\n", " "))


def test_the_command_line_names_every_setting() -> None:
    found = words(seed=7, include=("body.*", "x y"), device="cuda:0", budget="macs=50%,params=40%")
    assert found[:2] == ["autoprune", "search"]
    pairs = list(pairwise(found))
    assert ("--model", "zoo:net") in pairs and ("--data", "zoo:data") in pairs
    assert ("--budget", "macs=50%,params=40%") in pairs and ("--seed", "7") in pairs
    assert [value for name, value in pairs if name == "--include"] == ["body.*", "x y"]
    assert ("--device", "cuda:0") in pairs


def test_the_command_line_takes_it() -> None:
    group: Any = typer.main.get_command(app)
    search = group.commands["search"]
    context = search.make_context("search", words(include=("a",), exclude=("b", "c"), device="cpu")[2:])
    assert context.params["exclude_groups"] == ["b", "c"] or context.params["exclude_groups"] == ("b", "c")
    assert context.params["episodes"] == 40


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"source": None}, "budget"),
        ({"agent_settings": {"hidden": [16, 16]}}, "agent_settings={'hidden': [16, 16]}"),
        ({"baselines": ()}, "baselines=()"),
        ({"reward": "custom:my_reward"}, "reward=my_reward"),
    ],
)
def test_what_the_command_line_cannot_say_is_a_call(settings: dict[str, Any], part: str) -> None:
    text = command(config(SIZES, **settings))
    call: Any = ast.parse(text, mode="eval").body
    assert ast.unparse(call.func) == "autoprune.search"
    assert part == "budget" or part in ast.unparse(call)
    assert call.args[3].value == "macs=50%"
    given = {keyword.arg for keyword in call.keywords}
    assert {"seed", "episodes", "agent", "criterion", "reward"} <= given
    assert not {"device", "include", "exclude"} & given
