"""Policies in a folder and in object storage."""

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import autoprune
from autoprune.agents import Policy, PolicyStore
from autoprune.agents.policies.files import CARD, TENSORS
from autoprune.errors import ArgumentError
from tests.agents.problem import make_task
from tests.policies.made import EXAMPLE, network, policy, with_replay


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}/store"
    yield PolicyStore(url)
    memory = fsspec.filesystem("memory")
    if memory.exists(f"/{tmp_path.name}"):
        memory.rm(f"/{tmp_path.name}", recursive=True)


def test_what_is_added_is_there(store: PolicyStore, tmp_path: Path) -> None:
    assert store.names() == ()
    made = with_replay()
    store.add(made, "r20")
    store.add(policy(), "a-first.one_2")
    assert store.names() == ("a-first.one_2", "r20")
    assert store.card("r20") == made.card
    task = make_task(4)
    assert np.array_equal(store.load("r20").decide(task), made.decide(task))
    assert store.get("r20", tmp_path / "mine") == tmp_path / "mine"
    assert Policy.load(tmp_path / "mine").card == made.card


def test_a_name_is_given_once(store: PolicyStore) -> None:
    store.add(policy(), "r20")
    with pytest.raises(ArgumentError, match="name must be new to the store"):
        store.add(policy(), "r20")


@pytest.mark.parametrize(
    "name", ["", "..", ".", "../x", "/etc/x", "a/b", "a\\b", ".hidden", "a\n", "x" * 101, "é", "a\0"]
)
@pytest.mark.parametrize("verb", ["add", "card", "load", "get"])
def test_names_cannot_lead_out(name: str, verb: str, tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "store")
    arguments = {"add": (made(), name), "get": (name, tmp_path / "out")}.get(verb, (name,))
    with pytest.raises(ArgumentError, match="name must be at most 100 letters"):
        getattr(store, verb)(*arguments)
    assert list(tmp_path.iterdir()) == []


_made: list[Policy] = []


def made() -> Policy:
    if not _made:
        _made.append(policy(episodes=1))
    return _made[0]


def test_names_from_a_stranger_are_left_out() -> None:
    """A file system that lists paths outside of the folder, as a hostile server might."""
    store = PolicyStore("memory://hostile")
    store.add(made(), "good")
    listed = store._files.ls
    evil = ["/hostile/../../etc", "/hostile/..", "/etc/passwd", "/hostile/.ssh", "/hostile/a b"]
    try:
        store._files.ls = lambda *args, **more: [*evil, *listed(*args, **more)]
        assert store.names() == ("good",)
    finally:
        del store._files.ls
        store._files.rm("/hostile", recursive=True)


def test_an_absent_policy(store: PolicyStore) -> None:
    for verb in (store.card, store.load):
        with pytest.raises(ArgumentError, match="has no whole policy 'r20'"):
            verb("r20")


@pytest.mark.parametrize("name", [CARD, TENSORS])
def test_a_damaged_download_is_refused(name: str, store: PolicyStore, tmp_path: Path) -> None:
    store.add(policy(), "r20")
    path = f"{store._root}/r20/{name}"
    content = store._files.cat_file(path)
    store._files.pipe_file(path, content[:-30])
    with pytest.raises(ArgumentError, match=f"r20/{name}' is"):
        store.get("r20", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    assert store._files.cat_file(path) == content[:-30], "a damaged file is never overwritten"
    with pytest.raises(ArgumentError, match="name must be new"):
        store.add(policy(), "r20")


def test_a_download_has_a_limit(store: PolicyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from autoprune.agents.policies import files

    store.add(policy(), "r20")
    monkeypatch.setitem(files.LIMITS, TENSORS, 1000)
    with pytest.raises(ArgumentError, match="must have at most 1,000 bytes"):
        store.load("r20")


def test_a_half_written_policy_is_none(store: PolicyStore) -> None:
    store.add(policy(), "whole")
    store.add(policy(), "half")
    store._files.rm(f"{store._root}/half/{CARD}")
    assert store.names() == ("whole",)


def test_the_most_alike_comes_first(store: PolicyStore, caplog: pytest.LogCaptureFixture) -> None:
    from autoprune.agents import DDPGAgent
    from autoprune.envs import PruningEnv
    from autoprune.task import Task
    from tests.agents.problem import Hidden
    from tests.policies.made import SMALL

    def learned(*widths: int) -> Policy:
        graph = autoprune.trace(network(*widths), EXAMPLE)
        curves = {g.name: np.linspace(1, 0, g.size + 1) for g in graph.prunable}
        task = Task(graph, autoprune.Budget.parse("macs=60%").bind(graph), curves)
        agent = DDPGAgent(PruningEnv(task, Hidden(task)), **SMALL)
        agent.run_episode()
        return agent.policy

    for name, made in (("same", learned(8, 12)), ("wide", learned(64, 96)), ("resnet", policy())):
        store.add(made, name)
    store.add(policy(), "broken")
    store._files.pipe_file(f"{store._root}/broken/{TENSORS}", b"x")
    ranked = store.best_for(autoprune.trace(network(8, 12), EXAMPLE))
    assert [r.name for r in ranked][:2] == ["same", "wide"]
    assert "broken" not in [r.name for r in ranked]
    assert "left out of the ranking" in caplog.text
    assert ranked[0].likeness.distance < 1e-6
    distances = [r.likeness.distance for r in ranked]
    assert distances == sorted(distances) and distances[1] > 0.05


@pytest.mark.parametrize("url", ["nosuch://x", "abc://"])
def test_an_unknown_protocol(url: str) -> None:
    with pytest.raises(ArgumentError, match="cannot be opened"):
        PolicyStore(url)


def test_a_store_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = PolicyStore(tmp_path / "file")
    with pytest.raises(ArgumentError, match="cannot be used"):
        store.add(made(), "r20")
