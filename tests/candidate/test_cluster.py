"""A real Ray cluster on this machine."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from autoprune.candidate import Workers
from autoprune.candidate.cluster import RayWorkers
from autoprune.errors import ArgumentError, ModelError
from autoprune.score import Evaluation
from tests.candidate.test_evaluator import bench, random_widths

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster for all tests; `RayWorkers` joins it."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.parametrize("form", ["class", "graph"])
def test_actors_find_the_same_values(form: str) -> None:
    made = bench(form=form)
    candidates = [random_widths(made.graph, seed) for seed in range(4)]
    with Workers(made.evaluator.evaluate, 1) as one:
        expected = one(candidates)
    with RayWorkers(made.evaluator.evaluate, 2) as actors:
        assert actors([*candidates, candidates[0]]) == [*expected, expected[0]]


def test_an_actor_that_is_killed_is_replaced(tmp_path: Path) -> None:
    def once(widths: Mapping[str, int]) -> Evaluation:
        if widths["a"] == 2 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Evaluation(float(widths["a"]))

    with RayWorkers(once, 2) as actors:
        assert [e.score for e in actors([{"a": i} for i in range(6)])] == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "died").exists()


def test_what_the_evaluator_raises_arrives() -> None:
    def fails(widths: Mapping[str, int]) -> Evaluation:
        raise ModelError(f"no network of width {widths['a']}")

    with RayWorkers(fails, 1) as actors, pytest.raises(ModelError, match="no network of width 0"):
        actors([{"a": 0}, {"a": 1}])


def test_a_bad_count_is_refused() -> None:
    with pytest.raises(ArgumentError, match="workers must be an integer of at least 1, got 0"):
        RayWorkers(lambda widths: Evaluation(0.0), 0)
