"""Studies in a real PostgreSQL server."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

import autoprune
from autoprune.cli.app import app
from autoprune.errors import RunError
from autoprune.run.study import open_storage
from tests.api.problem import BUDGET
from tests.api.runs import SOURCES, StopAfter, resume, search, what
from tests.cli.invoke import invoke
from tests.faults import jobs
from tests.faults.databases import PASSWORD, Server
from tests.faults.jobs import QUICK
from tests.faults.processes import started

SETTINGS: dict[str, Any] = {"episodes": 5}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def undisturbed() -> list[Any]:
    return what(search(None, **QUICK | SETTINGS))


def trials(url: str, name: str) -> list[Any]:
    study = optuna.load_study(study_name=name, storage=open_storage(url, None))
    return sorted((t.user_attrs["episode"], t.value) for t in study.trials)


def rewards(episodes: list[Any]) -> list[Any]:
    return [(number, reward) for number, _, reward, *_ in episodes]


def test_searches_at_once_in_one_new_database(server: Server, undisturbed: list[Any], tmp_path: Path) -> None:
    """All of them find the database without tables; one is killed and resumed from its record alone."""
    here = [SETTINGS | {"storage": server.url, "study_name": f"run {n}"} for n in range(3)]
    with (
        started(jobs.telling, tmp_path / "0", here[0]) as first,
        started(jobs.telling, tmp_path / "1", here[1]) as second,
        started(jobs.telling, tmp_path / "2", here[2], 2) as third,
    ):
        while (heard := third.heard()) != 1:
            assert heard is not None
        third.send(signal.SIGKILL)
        for process in (first, second):
            while (heard := process.heard()) != "done":
                assert heard is not None
            assert process.heard() == undisturbed
    assert 1 <= len(trials(server.url, "run 2")) <= 2
    assert what(resume(tmp_path / "2")) == undisturbed
    for number in range(3):
        assert trials(server.url, f"run {number}") == rewards(undisturbed)
    assert not list(tmp_path.glob("*/optuna.journal"))
    with pytest.raises(RunError, match="storage already has a study 'run 0'"):
        search(None, **QUICK | here[0])


def test_a_password_is_not_written_down(server: Server, undisturbed: list[Any], tmp_path: Path) -> None:
    given = {"storage": server.secret_url, "study_name": "secret"}
    search(tmp_path / "run", callbacks=[StopAfter(2)], **QUICK | SETTINGS | given)
    assert not [
        p for p in (tmp_path / "run").rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()
    ]
    with pytest.raises(RunError, match="could not record in full; pass storage to resume"):
        resume(tmp_path / "run")
    assert what(resume(tmp_path / "run", storage=server.secret_url)) == undisturbed
    assert trials(server.url, "secret") == rewards(undisturbed)


class Crash(autoprune.Callback):
    """The server is gone from one episode to another."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def on_episode(self, episode: Any, best: Any) -> None:
        if episode.number == 1:
            self._server.stop(signal.SIGQUIT)
        if episode.number == 3:
            self._server.start()


def test_a_server_that_crashes_costs_nothing(
    server: Server, undisturbed: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"storage": server.url, "study_name": "crash"}
    result = search(tmp_path / "run", callbacks=[Crash(server)], **QUICK | SETTINGS | given)
    assert what(result) == undisturbed
    assert caplog.text.count("the study was not written, trying again") == 1
    assert trials(server.url, "crash") == rewards(undisturbed)
    server.stop()
    try:
        with pytest.raises(RunError) as raised:
            resume(tmp_path / "run")
    finally:
        server.start()
    assert "cannot be opened" in str(raised.value) and "\n" not in str(raised.value)
    assert what(resume(tmp_path / "run")) == undisturbed


def test_the_command_line_takes_a_database(server: Server, tmp_path: Path) -> None:
    run_dir, sources = str(tmp_path / "run"), SOURCES["model_source"]
    quick = ["--calibration-images", "48", "--fit-images", "24", "--agent", "random", "--progress", "none"]
    where = ["--model", sources, "--data", "tests.faults.jobs:splits", "--input-shape", "1,1,8,8"]
    done = invoke(
        app,
        ["search", *where, "-b", BUDGET, *quick, "-n", "2", "-o", run_dir, "--storage", server.secret_url],
    )
    assert done.exit_code == 0, done.stderr
    name = json.loads((tmp_path / "run" / "config.json").read_text())["body"]["study"]["name"]
    assert [number for number, _ in trials(server.url, name)] == [0, 1]
    more = ["resume", run_dir, "-n", "3", "--progress", "none"]
    refused = invoke(app, more)
    assert refused.exit_code == 2 and "pass storage to resume" in refused.stderr
    done = invoke(app, [*more, "--storage", server.secret_url])
    assert done.exit_code == 0, done.stderr
    assert [number for number, _ in trials(server.url, name)] == [0, 1, 2]


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.run.study.DRIVERS", ("no_such_driver",))
    with pytest.raises(RunError, match=r"needs a PostgreSQL driver: pip install 'autoprune\[postgres\]'"):
        open_storage("postgresql://me@host/db", None)
