import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage

import autoprune
from autoprune.errors import RunError
from autoprune.run.result import SearchResult
from tests.api.problem import network
from tests.api.runs import AGENTS, SOURCES, StopAfter, resume, same_network, search, what


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, SearchResult]:
    return {agent: search(None, agent=agent, **AGENTS[agent]) for agent in AGENTS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    search(path)
    return path


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize("agent", AGENTS)
def test_interrupted_and_resumed_is_undisturbed(
    agent: str, undisturbed: dict[str, SearchResult], tmp_path: Path
) -> None:
    first = search(tmp_path / "run", agent=agent, callbacks=[StopAfter(2)], **AGENTS[agent])
    assert first.stopped and len(first.history) == 2
    second = resume(tmp_path / "run", callbacks=[StopAfter(3)])
    assert second.stopped and len(second.history) == 3
    third = resume(tmp_path / "run")
    assert not third.stopped
    assert what(third) == what(undisturbed[agent])
    assert same_network(third, undisturbed[agent])
    assert [t.user_attrs["episode"] for t in third.study.trials] == list(range(5))
    assert [t.value for t in third.study.trials] == [e.reward for e in third.history]


@pytest.mark.parametrize("agent", ["random", "ddpg"])
def test_more_episodes_are_those_of_a_longer_search(agent: str, tmp_path: Path) -> None:
    search(tmp_path / "run", agent=agent, episodes=3, **AGENTS[agent])
    longer = resume(tmp_path / "run", episodes=6)
    assert what(longer) == what(search(None, agent=agent, episodes=6, **AGENTS[agent]))
    assert len(resume(tmp_path / "run").history) == 6


def test_eight_kills_at_random_moments(undisturbed: dict[str, SearchResult], tmp_path: Path) -> None:
    moments, path = random.Random(1), tmp_path / "run"
    for _ in range(8):
        child = os.fork()
        if child == 0:
            try:
                if (path / "config.json").exists():
                    resume(path, callbacks=[Slow()])
                else:
                    search(path, callbacks=[Slow()])
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0.1, 0.9))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not (path / "config.json").exists():
        search(path)
    result = resume(path)
    assert what(result) == what(undisturbed["random"])
    assert same_network(result, undisturbed["random"])
    assert sorted(t.user_attrs["episode"] for t in result.study.trials) == list(range(5))


class Slow(autoprune.Callback):
    def on_episode(self, episode: Any, best: Any) -> None:
        time.sleep(0.05)


def test_another_process_is_killed_and_its_run_goes_on_from_sources_alone(
    undisturbed: dict[str, SearchResult], tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.api.runs import *; import time\n"
        "class Wait(autoprune.Callback):\n"
        "    def on_episode(self, episode, best):\n"
        "        if episode.number == 2: print('three', flush=True); time.sleep(60)\n"
        f"search(Path({str(path)!r}), agent='ddpg', agent_settings=DDPG, callbacks=[Wait()], **SOURCES)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "three\n"
        with pytest.raises(RunError, match="in use by another search"):
            resume(path)
        other.send_signal(signal.SIGKILL)
    monkeypatch.chdir(root)
    result = autoprune.resume(path)
    assert what(result) == what(undisturbed["ddpg"])
    assert same_network(result, undisturbed["ddpg"])


def test_a_finished_run_gives_its_result_again(run_dir: Path, undisturbed: dict[str, SearchResult]) -> None:
    before = {p: p.read_bytes() for p in (run_dir / "pruned").iterdir()}
    again = resume(run_dir)
    assert what(again) == what(undisturbed["random"])
    assert {p: p.read_bytes() for p in (run_dir / "pruned").iterdir()} == before
    assert len(again.study.trials) == 5


def test_a_run_killed_before_its_first_episode(tmp_path: Path, undisturbed: dict[str, SearchResult]) -> None:
    class AtOnce(autoprune.Callback):
        def on_start(self, start: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "run", callbacks=[AtOnce()])
    assert what(resume(tmp_path / "run")) == what(undisturbed["random"])


def test_a_damaged_newest_checkpoint_is_run_again(
    run_dir: Path, undisturbed: dict[str, SearchResult]
) -> None:
    newest = run_dir / "checkpoint" / "000005.json"
    newest.write_bytes(newest.read_bytes()[:-20])
    result = resume(run_dir)
    assert what(result) == what(undisturbed["random"])
    assert [t.user_attrs["episode"] for t in result.study.trials] == list(range(5))


def test_sources_that_fail_are_named(tmp_path: Path) -> None:
    search(tmp_path / "run", episodes=1, **SOURCES | {"model_source": "nowhere:net"})
    with pytest.raises(
        RunError, match="model of the run cannot be made again: .*nowhere.*pass model to resume"
    ):
        autoprune.resume(tmp_path / "run")
    assert len(autoprune.resume(tmp_path / "run", model=network()).history) == 1


def test_a_study_in_a_database(tmp_path: Path, undisturbed: dict[str, SearchResult]) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    search(tmp_path / "run", storage=url, study_name="mine", callbacks=[StopAfter(2)])
    result = resume(tmp_path / "run")
    study = optuna.load_study(study_name="mine", storage=url)
    assert what(result) == what(undisturbed["random"])
    assert [t.value for t in study.trials] == [e.reward for e in result.history]
    assert not (tmp_path / "run" / "optuna.journal").exists()
    with pytest.raises(RunError, match="already has a study 'mine'"):
        search(tmp_path / "other", storage=url, study_name="mine")
    assert not (tmp_path / "other").exists()


def test_a_storage_object_must_be_given_again(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    search(tmp_path / "run", storage=storage, callbacks=[StopAfter(2)])
    with pytest.raises(RunError, match="keeps its study in 'InMemoryStorage'.*pass storage to resume"):
        resume(tmp_path / "run")
    result = resume(tmp_path / "run", storage=storage)
    assert len(result.study.trials) == 5


def test_parts_of_ones_own_must_be_given_again(tmp_path: Path) -> None:
    def reward(evaluation: Any, costs: Any) -> float:
        return float(evaluation.score * 2)

    search(tmp_path / "run", reward=reward, callbacks=[StopAfter(2)])
    with pytest.raises(RunError, match="started with a reward of its own .*pass reward to resume"):
        resume(tmp_path / "run")
    result = resume(tmp_path / "run", reward=reward)
    assert [e.reward for e in result.history] == [e.evaluation.score * 2 for e in result.history]


def test_another_machine_is_no_reason_to_lose_the_result(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from autoprune.run.stored import read_stored, write_stored

    body = read_stored(run_dir / "config.json")
    body["machine"]["threads"] = 64
    write_stored(run_dir / "config.json", body)
    assert len(resume(run_dir, episodes=6).history) == 6
    assert "the run was started with" in caplog.text
