"""`autoprune policies`, and `--init-policy`."""

from pathlib import Path
from typing import Any

import pytest

from autoprune.agents import Policy
from autoprune.cli.app import app
from tests.cli.conftest import workplace
from tests.cli.invoke import invoke
from tests.policies.made import policy

__all__ = ["workplace"]


def run(*words: str, code: int = 0) -> Any:
    done = invoke(app, ["policies", *words])
    assert done.exit_code == code, (done.stdout, done.stderr)
    return done


def test_add_list_show_get(workplace: Path) -> None:
    policy().save("mine")
    assert "no policies in 'policies'" in run("list").stdout
    assert "added 'mine' to policies" in run("add", "mine").stdout
    run("add", "mine", "--name", "other")
    shown = run("list").stdout
    assert "mine" in shown and "other" in shown and "macs=50%" in shown
    assert "learned on: unknown (6 groups" in run("show", "other").stdout
    run("get", "other", "--out", "copy")
    assert Policy.load("copy").card == Policy.load("mine").card


def test_the_store_can_be_a_url_or_come_from_the_environment(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy().save("mine")
    run("add", "mine", "--store", "memory://cli-store")
    monkeypatch.setenv("AUTOPRUNE_POLICIES", "memory://cli-store")
    assert "mine" in run("list").stdout


def test_best_for_says_how_similar(workplace: Path) -> None:
    policy().save("mine")
    run("add", "mine", "--name", "resnet")
    shown = run("best-for", "user_zoo:net", "--input-shape", "1,1,6,6").stdout
    assert "resnet" in shown and "%" in shown and "distance" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "../x"), "name must be at most 100 letters"),
        (("show", "absent"), "has no whole policy 'absent'"),
        (("add", "absent"), "absent/policy.json' cannot be read"),
        (("best-for", "user_zoo:net"), "give --input-shape"),
    ],
)
def test_errors_are_one_line(words: tuple[str, ...], message: str, workplace: Path) -> None:
    done = run(*words, code=2)
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_search_leaves_a_policy_that_the_next_begins_with(workplace: Path) -> None:
    common = ["search", "-m", "user_zoo:net", "-d", "user_zoo:data", "-b", "macs=60%", "-q", "-n", "2"]
    first = invoke(app, [*common, "-o", "first"])
    assert first.exit_code == 0, first.stderr
    run("add", "first", "--name", "net")
    second = invoke(app, [*common, "-o", "second", "--init-policy", "policies/net"])
    assert second.exit_code == 0, second.stderr
    assert Policy.load("second/policy").card.episodes == 4
    bad = invoke(app, [*common, "-o", "third", "--init-policy", "nowhere"])
    assert bad.exit_code == 2 and "nowhere/policy.json" in bad.stderr
