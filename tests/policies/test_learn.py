"""Learning a policy in a folder: what was evaluated is never lost, and never evaluated twice."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.agents import Policy
from autoprune.candidate import CandidateEvaluator
from autoprune.errors import ArgumentError, RunError
from autoprune.run.learn import Lesson, learn_policy
from autoprune.run.lock import locked
from tests.api.problem import data, network
from tests.api.runs import DDPG, EXAMPLE, search, what

BUDGETS = ("macs=40%", "macs=70%")
EPISODES = 6


def lessons() -> list[Lesson]:
    other = network()
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    return [Lesson(model, EXAMPLE, data(), BUDGETS) for model in (network(), other)]


def learn(run_dir: Path | None, taught: list[Lesson] | None = None, **changes: Any) -> Policy:
    settings = {"agent_settings": DDPG, "calibration_images": 80, "fit_images": 48, "episodes": EPISODES}
    return learn_policy(taught or lessons(), run_dir=run_dir, **settings | changes)


def same(first: Policy, second: Policy) -> bool:
    pairs = ((tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    cards = [policy.card.model_dump(exclude={"created"}) for policy in (first, second)]
    return cards[0] == cards[1] and all(torch.equal(*map(torch.as_tensor, pair)) for pair in pairs)


@pytest.fixture(scope="module")
def undisturbed() -> Policy:
    return learn(None)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The widths of every candidate that is really evaluated."""
    found: list[tuple[int, ...]] = []
    plain = CandidateEvaluator.evaluate

    def noted(self: CandidateEvaluator, widths: Any, **further: Any) -> Any:
        found.append(tuple(widths.values()))
        return plain(self, widths, **further)

    monkeypatch.setattr(CandidateEvaluator, "evaluate", noted)
    yield found


class Killed(Exception):
    pass


def after(count: int, do: Callable[[], None]) -> Callable[[Any], None]:
    def on_episode(episode: Any) -> None:
        if episode.number + 1 == count:
            do()

    return on_episode


def fail() -> None:
    raise Killed


def in_a_child(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("count", range(1, EPISODES + 1))
def test_what_was_broken_off_goes_on(
    count: int, undisturbed: Policy, evaluated: list[tuple[int, ...]], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        learn(tmp_path, on_episode=after(count, fail))
    before = len(evaluated)
    seen: list[int] = []
    again = learn(tmp_path, on_episode=lambda episode: seen.append(episode.number))
    assert same(again, undisturbed)
    assert same(Policy.load(tmp_path / "policy"), undisturbed)
    assert seen == list(range(EPISODES))
    assert before == count and len(evaluated) == EPISODES


def test_kill_9_at_every_episode_in_a_row(undisturbed: Policy, tmp_path: Path) -> None:
    for count in range(1, EPISODES):
        killed = after(count, lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert in_a_child(partial(learn, tmp_path, on_episode=killed)) == -signal.SIGKILL
    assert same(learn(tmp_path), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_policy_so_far(
    number: signal.Signals, undisturbed: Policy, tmp_path: Path
) -> None:
    stopped = learn(tmp_path, on_episode=after(3, lambda: os.kill(os.getpid(), number)))
    assert stopped.card.episodes == 3
    assert same(stopped, learn(None, episodes=3))
    assert same(learn(tmp_path), undisturbed)


def test_a_signal_before_every_network_had_an_episode(tmp_path: Path, undisturbed: Policy) -> None:
    with pytest.raises(KeyboardInterrupt, match="before every network had an episode"):
        learn(tmp_path, on_episode=after(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert same(learn(tmp_path), undisturbed)


def test_more_episodes_are_those_of_a_longer_call(
    undisturbed: Policy, evaluated: list[tuple[int, ...]], tmp_path: Path
) -> None:
    learn(tmp_path, episodes=4)
    assert same(learn(tmp_path), undisturbed)
    assert len(evaluated) == EPISODES


def test_a_search_begins_with_it(undisturbed: Policy, tmp_path: Path) -> None:
    learn(tmp_path / "learned")
    settings: dict[str, Any] = {"agent": "ddpg", "agent_settings": DDPG, "episodes": 3}
    found = search(None, **settings, init_policy=tmp_path / "learned")
    assert what(found) == what(search(None, **settings, init_policy=undisturbed))
    with pytest.raises(Killed):
        learn(tmp_path / "broken", on_episode=after(1, fail))
    with pytest.raises(ArgumentError, match="holds no policy"):
        search(None, **settings, init_policy=tmp_path / "broken")


def test_other_work_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        learn(tmp_path, on_episode=after(2, fail))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shifted = [Lesson(x.model, EXAMPLE + 1, x.data, BUDGETS) for x in lessons()]
    for changes, message in (
        ({"seed": 1}, r"holds lessons with seed=0, got 1; give the same to go on"),
        ({"agent_settings": DDPG | {"optimism": 0.1}}, "holds lessons with agent_settings="),
        ({"taught": lessons()[:1]}, "holds lessons with budgets="),
        ({"taught": lessons()[::-1]}, "holds lessons with models="),
        ({"search_images": 40}, "holds lessons with search_images=512, got 40"),
        ({"taught": shifted}, "lesson 0 must give the same example_inputs as before"),
    ):
        with pytest.raises(ArgumentError, match=message):
            learn(tmp_path, **changes)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_folders_that_it_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ArgumentError, match="run_dir must be new, empty or hold these lessons"):
        learn(tmp_path)
    with pytest.raises(RunError, match="cannot write to .*; choose a run_dir that you may write to"):
        learn(tmp_path / "mine.txt" / "below a file")
    (tmp_path / "used").mkdir()
    with locked(tmp_path / "used"), pytest.raises(RunError, match="is in use by another search"):
        learn(tmp_path / "used")


def test_a_call_that_fails_before_the_first_episode_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="has no setting 'optimsm'"):
        learn(tmp_path, agent_settings=DDPG | {"optimsm": 1})
    assert learn(tmp_path, episodes=2).card.episodes == 2


@pytest.mark.parametrize("name", ["lessons.json", "checkpoint/000003.json", "checkpoint/000003.safetensors"])
def test_damaged_files(
    name: str, undisturbed: Policy, evaluated: list[tuple[int, ...]], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        learn(tmp_path, on_episode=after(3, fail))
    path = tmp_path / name
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert same(learn(tmp_path), undisturbed)
    assert len(evaluated) == EPISODES + (name != "lessons.json")
