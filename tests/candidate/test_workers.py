"""Real processes: the same values, real deaths, and nothing left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from autoprune.candidate.workers import Workers
from autoprune.errors import ArgumentError, ModelError, RunError
from autoprune.score import Evaluation

CANDIDATES = [{"a": i, "b": i % 3} for i in range(12)]


def value(widths: Mapping[str, int]) -> Evaluation:
    return Evaluation(
        widths["a"] + widths["b"] / 10, {"pid": os.getpid(), "threads": torch.get_num_threads()}
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gives_the_same_values_in_order(count: int) -> None:
    with Workers(value, count) as workers:
        found = workers(CANDIDATES)
        assert [e.score for e in found] == [value(widths).score for widths in CANDIDATES]
        pids = {e.metrics["pid"] for e in found}
        assert os.getpid() not in pids and len(pids) <= count
        assert {e.metrics["threads"] for e in found} == {1}
        pids |= {e.metrics["pid"] for e in workers(CANDIDATES)}
        assert len(pids) <= count  # the second call starts no new ones


def test_tensors_are_shared_and_computed_with() -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))

    def norm(widths: Mapping[str, int]) -> Evaluation:
        return Evaluation(float((weight[: widths["a"]] @ weight).norm()))

    with Workers(norm, 2) as workers:
        assert workers([{"a": 8}, {"a": 64}]) == [norm({"a": 8}), norm({"a": 64})]


def test_equal_candidates_are_evaluated_once(tmp_path: Path) -> None:
    def counted(widths: Mapping[str, int]) -> Evaluation:
        (tmp_path / f"{widths['a']}-{time.monotonic_ns()}").touch()
        return Evaluation(widths["a"])

    with Workers(counted, 2) as workers:
        assert [e.score for e in workers([{"a": 1}, {"a": 2}, {"a": 1}])] == [1, 2, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    def once(widths: Mapping[str, int]) -> Evaluation:
        if widths["a"] == 5 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return value(widths)

    with Workers(once, 2) as workers:
        assert [e.score for e in workers(CANDIDATES)] == [value(widths).score for widths in CANDIDATES]
    assert (tmp_path / "died").exists()


def test_workers_that_die_again_and_again_are_an_error() -> None:
    def never(widths: Mapping[str, int]) -> Evaluation:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with Workers(never, 2) as workers, pytest.raises(RunError, match="died 3 times .* fewer workers"):
        workers(CANDIDATES)


def test_what_the_evaluator_raises_arrives() -> None:
    def fails(widths: Mapping[str, int]) -> Evaluation:
        raise ModelError(f"no network of width {widths['a']}")

    with Workers(fails, 2) as workers, pytest.raises(ModelError, match="no network of width 0"):
        workers(CANDIDATES)


def test_closing_ends_the_processes_and_a_call_starts_new_ones() -> None:
    workers = Workers(value, 2)
    first = {int(e.metrics["pid"]) for e in workers(CANDIDATES)}
    workers.close()
    assert not any(alive(pid) for pid in first)
    second = {int(e.metrics["pid"]) for e in workers(CANDIDATES)}
    workers.close()
    assert not first & second


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_killed_parent(tmp_path: Path, sign: signal.Signals) -> None:
    script = textwrap.dedent(
        """
        import os, sys, time
        from autoprune.candidate.workers import Workers
        from autoprune.score import Evaluation

        def slow(widths):
            open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
            time.sleep(60)
            return Evaluation(0.0)

        Workers(slow, 3)([{"a": i} for i in range(3)])
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        until(lambda: len(list(tmp_path.iterdir())) == 3)
        pids = [int(path.name) for path in tmp_path.iterdir()]
        parent.send_signal(sign)
        parent.wait(30)
        until(lambda: not any(alive(pid) for pid in pids))
    finally:
        parent.kill()


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_refuses_a_count(count: int) -> None:
    with pytest.raises(ArgumentError, match="workers must be an integer of at least 1"):
        Workers(value, count)


def until(true: "object", seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
