from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box

from autoprune.allocation import greedy
from autoprune.envs import AMCObservation, DefaultObservation, PruningEnv, State
from autoprune.graph.types import Extent, PruneGraph
from autoprune.task import Task
from tests.budget import graphs
from tests.envs.problems import Quadratic, make_task


def collect(
    task: Task, observation: Any, actions: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Observations before every decision, shape (n, features), and the widths."""
    env = PruningEnv(task, Quadratic(task), observation=observation)
    seen = [env.reset()[0]]
    for action in actions or [0.0] * len(task.names):
        current, _, _, _, info = env.step(np.array([action]))
        seen.append(current)
    assert all(current in env.observation_space for current in seen)
    return np.array(seen[:-1]), np.array(list(info["widths"].values()))


def plain_net() -> PruneGraph:
    """Three convolutions and a classifier; the middle one strided."""
    b = graphs.Builder()
    first, second, third = b.group("a", 4), b.group("b", 8), b.group("c", 16)
    b.conv(Extent(3), first, side=8)
    b.conv(first, second, side=4, stride=2)
    b.conv(second, third, kernel=1, side=4)
    b.linear(third, Extent(10))
    return b.build()


def test_amc_features_by_hand() -> None:
    task = make_task(plain_net(), "macs=60%", lower=0.0)
    seen, widths = collect(task, "amc", [0.5, 0.0, 1.0])
    layers = np.array(
        # t, n, c, h, w, stride, k, MACs of the layer that reads the group
        [
            [0, 8, 4, 8, 8, 2, 3, 4 * 8 * 9 * 16],
            [1, 16, 8, 4, 4, 1, 1, 8 * 16 * 16],
            [2, 10, 16, 1, 1, 1, 1, 16 * 10],
        ],
        float,
    )
    scaled = (layers - layers.min(0)) / np.ptp(layers, axis=0)
    assert seen[:, :8] == pytest.approx(scaled, abs=1e-6)
    dense = task.graph.macs()
    macs = [task.graph.macs(dict(zip("abc"[:i], widths[:i].tolist(), strict=True))) for i in range(3)]
    assert seen[:, 8] == pytest.approx([1 - m / dense for m in macs], abs=1e-6)
    assert seen[:, 9] == pytest.approx([(2048 + 160) / dense, 160 / dense, 0], abs=1e-6)
    assert seen[:, 10] == pytest.approx([1.0, widths[0] / 4, widths[1] / 8])


def test_default_features_by_hand() -> None:
    task = make_task(plain_net(), "macs=60%", lower=0.0)
    actions = [0.5, 0.0, 1.0]
    seen, widths = collect(task, "default", actions)
    names = DefaultObservation().bind(task).names
    feature = {name: seen[:, i].tolist() for i, name in enumerate(names)}
    assert feature["position"] == pytest.approx([0, 1 / 3, 2 / 3])
    assert feature["depth"] == pytest.approx([np.log2(3) / 8] * 3)
    assert feature["kind_conv"] == [1, 1, 1]
    assert feature["kind_linear"] == [0, 0, 0]
    assert feature["size"] == pytest.approx(np.log2([4, 8, 16]) / 12)
    assert feature["inputs"] == pytest.approx(np.log2([3, 4, 8]) / 12)
    assert feature["outputs"] == pytest.approx(np.log2([8, 16, 10]) / 12)
    assert feature["kernel_before"] == pytest.approx(np.log2([3, 3, 1]) / 3)
    assert feature["kernel_after"] == pytest.approx(np.log2([3, 1, 1]) / 3)
    assert feature["stride"] == pytest.approx(np.log2([1, 2, 1]) / 3)
    assert feature["resolution"] == pytest.approx(np.log2([1, 1 / 2, 1 / 2]) / 8)
    curves = [task.curves[name] for name in "abc"]
    half = np.array([curve[len(curve) // 2] for curve in curves])
    assert feature["error_at_0.5"] == pytest.approx(1 + np.log10(half) / 4, abs=1e-6)
    assert feature["relative_error_at_0.5"] == pytest.approx(np.log2(half / half.mean()) / 8, abs=1e-6)
    macs = [task.graph.macs({name: 1}) for name in "abc"]
    saved = task.graph.macs() - np.array(macs)
    assert feature["macs_share"] == pytest.approx(np.log2(saved / saved.mean()) / 8, abs=1e-6)
    chosen = greedy(task)
    assert feature["reference"] == pytest.approx(2 * chosen / task.sizes - 1, abs=1e-6)
    env = PruningEnv(task, Quadratic(task))
    env.reset()
    executed = [env.step(np.array([a]))[4]["executed_action"][0] for a in actions]
    assert feature["executed"] == [1.0, *executed[:2]]
    for name, expected in standing(task, widths).items():
        assert feature[name] == pytest.approx(expected, abs=1e-6), name


def standing(task: Task, widths: np.ndarray) -> dict[str, Any]:
    """Where an episode stands before every decision, by single evaluations of the graph."""
    dense, limit = task.graph.macs(), task.budget.limits["macs"]

    def macs(position: int, *rest: int) -> int:
        return task.graph.macs(task.widths(np.array([*widths[:position], *rest])))

    rows = []
    for i in range(len(widths)):
        largest = macs(i, *task.max_widths[i:])
        smallest = macs(i, *task.min_widths[i:])
        here = macs(i, task.min_widths[i], *task.max_widths[i + 1 :])
        reference = macs(i, *greedy(task)[i:])
        can_go = largest - smallest
        rows.append(
            {
                "target": limit / dense,
                "removed": 1 - largest / dense,
                "excess": (largest - limit) / dense,
                "need": max(largest - limit, 0) / can_go,
                "here": (largest - here) / can_go,
                "slack": (limit - smallest) / dense,
                "reference_excess": np.clip(4 * (reference - limit) / dense, -1, 1),
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_need_is_one_where_there_is_no_choice() -> None:
    loose = make_task(graphs.residual(), "macs=100%")
    tight = make_task(graphs.residual(), f"macs={loose.smallest['macs']}")
    at = DefaultObservation().bind(tight).names.index("need")
    seen, _ = collect(tight, "default", [1.0] * 8)
    assert seen[:, at] == pytest.approx(np.ones(8))
    seen, _ = collect(loose, "default", [1.0] * 8)
    assert seen[:, at] == pytest.approx(np.zeros(8))


def test_several_limits_show_the_one_that_leaves_least_freedom() -> None:
    graph = graphs.residual()
    both = make_task(graph, "macs=20%,params=95%")
    alone = make_task(graph, "macs=20%")
    names = DefaultObservation().bind(both).names
    shown = [i for i, name in enumerate(names) if "reference" not in name]
    actions = [0.0] * 7 + [-1.0]
    assert np.array_equal(
        collect(both, "default", actions)[0][:, shown], collect(alone, "default", actions)[0][:, shown]
    )


@pytest.mark.parametrize("make", graphs.ALL)
@pytest.mark.parametrize("observation", [DefaultObservation(), AMCObservation()])
@pytest.mark.parametrize("budget", ["macs=50%", "macs=50%,params=55%"])
def test_same_features_for_every_network(
    make: Callable[[], PruneGraph], observation: Any, budget: str
) -> None:
    task = make_task(make(), budget)
    bound = observation.bind(task)
    other = observation.bind(make_task(plain_net(), "params=90%"))
    assert bound.names == other.names
    assert bound.space == other.space
    assert bound.space.shape == (len(bound.names),)
    rng = np.random.default_rng(0)
    for _ in range(3):
        seen, _ = collect(task, observation, rng.uniform(-1, 1, len(task.names)).tolist())
        assert np.isfinite(seen).all()


def test_features_do_not_depend_on_the_batch_of_the_example_inputs() -> None:
    def scaled(batch: int) -> PruneGraph:
        b = graphs.Builder()
        first, second = b.group("a", 4), b.group("b", 8)
        b.conv(Extent(3), first, side=8 * batch)
        b.conv(first, second, side=4 * batch, stride=2)
        return b.build()

    one, four = (collect(make_task(scaled(batch), lower=0.0), "default")[0] for batch in (1, 2))
    assert one == pytest.approx(four, abs=1e-6)


def test_one_more_network_of_the_same_blocks_looks_alike() -> None:
    shallow, deep = make_task(graphs.padded_resnet(3)), make_task(graphs.padded_resnet(9))
    names = DefaultObservation().bind(shallow).names
    own = ["kind_conv", "size", "inputs", "outputs", "kernel_before", "kernel_after", "stride", "resolution"]
    columns = [names.index(name) for name in own]
    few, many = collect(shallow, "default")[0][:, columns], collect(deep, "default")[0][:, columns]
    assert np.array_equal(few[1::3], many[1::9]) and np.array_equal(few[0::3], many[0::9])


class Countdown:
    """A user's own observation set: how many groups are left."""

    name, version = "countdown", 3

    def bind(self, task: Task) -> "BoundCountdown":
        return BoundCountdown(len(task.names))


class BoundCountdown:
    names = ("left",)

    def __init__(self, n: int) -> None:
        self.n = n
        self.space = Box(0.0, float(n), (1,), np.float32)

    def __call__(self, state: State) -> np.ndarray:
        return np.full((len(state.widths), 1), self.n - state.position, np.float32)


def test_a_users_own_set() -> None:
    seen, _ = collect(make_task(graphs.residual()), Countdown())
    assert seen[:, 0].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]


def test_sets_have_names_and_versions_and_take_a_reference() -> None:
    assert (DefaultObservation().name, DefaultObservation().version) == ("default", 1)
    assert (AMCObservation().name, AMCObservation().version) == ("amc", 1)
    task = make_task(graphs.residual(), lower=0.0)
    bound = DefaultObservation(reference=task.min_widths).bind(task)
    first = bound(State(0, task.max_widths[None], np.ones(1, np.float32)))[0]
    assert first[bound.names.index("reference")] == pytest.approx(2 / 16 - 1)
