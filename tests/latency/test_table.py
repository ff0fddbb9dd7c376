"""Layers, grids, tables and their sums, with clocks that tell what the tests say."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.cli.app import app
from autoprune.errors import ArgumentError, ModelError
from autoprune.graph import trace_program
from autoprune.latency import (
    LatencyCost,
    LatencyTable,
    Requests,
    Segment,
    Target,
    Timed,
    anchored,
    candidate,
    complete,
    measure,
    profile,
    requests_of,
    segments_of,
    time_networks,
)
from autoprune.latency.backends import named_inputs, onnx_session
from autoprune.latency.clock import interleaved_ms, median_ms, pinned
from autoprune.latency.grid import axis, covers, grid, lookup, monotone
from autoprune.latency.module import function_of, network_of
from autoprune.latency.onnx_family import OnnxFamily, exported
from tests.budget import graphs
from tests.cli.invoke import invoke
from tests.surgery import nets

CASES = {
    "plain": nets.Case(nets.Plain, (2, 3, 8, 8)),
    "residual": nets.Case(nets.Residual, (2, 3, 8, 8)),
    "mobile": nets.Case(nets.Mobile, (1, 3, 8, 8)),
    "dense": nets.Case(nets.Dense, (3, 3, 6, 6)),
    "shared": nets.Case(nets.Shared, (4, 6)),
    "signal": nets.Case(nets.Signal, (2, 2, 20)),
}


class Clock:
    """Every look at it takes as long as is due."""

    def __init__(self, steps: Iterator[float]) -> None:
        self.now, self.steps, self.open = 0.0, steps, False

    def __call__(self) -> float:
        self.now += next(self.steps) if self.open else 0.0
        self.open = not self.open
        return self.now


def segments(name: str) -> tuple[Any, list[Segment]]:
    traced = trace_program(CASES[name].model(), CASES[name].inputs())
    return traced.graph, segments_of(traced)


def by_work(found: list[Segment], target: Target | None = None) -> LatencyTable:
    """A table in which a layer takes a microsecond per element."""
    requests = requests_of(found, target or Target.here())
    layers = [(w.template, {at: 1e-3 * w.template.work(at) for at in w.points}) for w in requests.layers]
    return LatencyTable.of(requests.target, layers)


def test_a_median_of_calls_behind_a_warm_up() -> None:
    calls: list[int] = []
    clock = Clock(iter([0.004, 0.1, 0.002, 0.003, 0.001]))
    assert median_ms(lambda: calls.append(1), warmup=2, repeats=5, clock=clock) == pytest.approx(3.0)
    assert len(calls) == 7


def test_interleaved_takes_turns() -> None:
    order: list[str] = []
    clock = Clock(itertools.cycle([0.001, 0.002]))
    runs = [lambda: order.append("a"), lambda: order.append("b")]
    assert interleaved_ms(runs, warmup=1, rounds=2, clock=clock) == pytest.approx([1.0, 2.0])
    assert "".join(order) == "ab" + "aabb" * 2
    with pytest.raises(ArgumentError, match="rounds must be at least 1 and warmup at least 0, got 0 and 5"):
        interleaved_ms(runs, rounds=0)


def test_threads_are_pinned_and_restored() -> None:
    before = torch.get_num_threads()
    with pinned(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("largest", "points", "expected"),
    [
        (5, 17, [1, 2, 3, 4, 5]),
        (1, 2, [1]),
        (64, 5, [1, 32, 33, 64]),
        (64, 17, [1, *sorted([*range(8, 64, 8), *range(9, 64, 8)]), 64]),
        (100, 9, [1, 24, 25, 48, 49, 72, 73, 96, 97, 100]),
    ],
)
def test_values_of_an_axis(largest: int, points: int, expected: list[int]) -> None:
    assert axis(largest, points) == expected


def test_a_grid_of_many_variables_is_a_diagonal() -> None:
    assert grid((2, 3), 17) == [(a, b) for a in (1, 2) for b in (1, 2, 3)]
    assert grid((), 17) == [()]
    assert grid((10, 20, 30), 3) == [(1, 1, 1), (5, 10, 15), (10, 20, 30)]
    assert covers({(1, 4): 1.0, (5, 4): 1.0}, (5, 4)) and not covers({(5, 3): 1.0, (4, 4): 1.0}, (5, 4))


@pytest.mark.parametrize("shape", [(), (9,), (7, 6)])
def test_monotone_values_never_fall_and_stay_near(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.random(shape) + sum(np.indices(shape), start=np.zeros(shape)) * 0.3
        holes = rng.random(shape) < 0.3
        known = np.where(holes, np.nan, values)
        if np.isnan(known).all():
            continue
        found = monotone(known)
        assert np.isfinite(found).all()
        assert all((np.diff(found, axis=d) >= 0).all() for d in range(found.ndim))
        assert found.min() >= np.nanmin(known) and found.max() <= np.nanmax(known)
    rising = np.sort(rng.random(shape).ravel()).reshape(shape)
    assert np.array_equal(monotone(rising), rising)


def test_lookup_interpolates_between_points() -> None:
    points = {(a, b): float(10 * a + b) for a in (1, 5) for b in (2, 4)}
    table = lookup(points, (5, 4))
    assert table.shape == (6, 5)
    assert table[3, 3] == 33.0 and table[1, 2] == 12.0 and table[5, 4] == 54.0
    assert table[1, 1] == table[1, 2]  # below the smallest point nothing is known


@pytest.mark.parametrize("name", CASES)
def test_layers_have_the_shapes_that_the_pruned_network_has(name: str) -> None:
    graph, found = segments(name)
    model, inputs = CASES[name].model(), CASES[name].inputs()
    for vector in graphs.random_widths(graph, np.random.default_rng(3), 3):
        widths = {g.name: int(w) for g, w in zip(graph.prunable, vector, strict=True)}
        small = candidate(model, graph, widths)
        weights = sorted(tuple(t.shape) for t in small.state_dict().values() if t.ndim > 1)
        seen: set[tuple[int, ...]] = set()
        for segment in found:
            layer = segment.template.at((vector @ segment.matrix).tolist())
            module, args = network_of(layer)
            with torch.no_grad():
                outputs = module(*args)
            seen |= {tuple(o.shape) for o in layer.operands if o.weight and len(o.shape) > 1}  # type: ignore[misc]
        assert seen == set(weights)
        with torch.no_grad():
            assert outputs[-1].shape == small(inputs).shape


@pytest.mark.parametrize("name", CASES)
def test_the_sum_is_that_of_the_layers_and_never_falls(name: str) -> None:
    graph, found = segments(name)
    cost = LatencyCost(found, by_work(found), factor=2.0)
    rows = graphs.random_widths(graph, np.random.default_rng(0), 20)
    sizes = np.array([g.size for g in graph.prunable])
    rows[0] = sizes
    exact = sum(s.template.work(s.sizes) for s in found)
    assert cost(sizes) == pytest.approx(2e-3 * exact)
    assert cost(rows).shape == (20,) and cost(rows.reshape(4, 5, -1)).shape == (4, 5)
    assert np.array_equal(cost(rows)[1], cost(rows[1]))
    raw = float(cost.raw(sizes))
    bent = LatencyCost(
        found, by_work(found), factor=2.0, anchors=[(raw, 3.0), (0.5 * raw, 2.0), (0.1 * raw, 2.5)]
    )
    for i in range(len(sizes)):
        larger = rows.copy()
        larger[:, i] = np.minimum(larger[:, i] + 1, sizes[i])
        assert (cost(larger) >= cost(rows) - 1e-12).all()
        assert (bent(larger) >= bent(rows) - 1e-12).all()
    assert bent(sizes) == pytest.approx(6.0)


def test_equal_layers_share_a_template_across_networks() -> None:
    def net(*widths: int) -> nn.Module:
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise((3, *widths)):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 16, 2))

    small, large = (segments_of(trace_program(net(*w), torch.zeros(1, 3, 4, 4))) for w in ((4, 6), (8, 5, 7)))
    assert {s.template.key for s in small} < {s.template.key for s in large}
    assert len({s.template.key for s in large}) == len(large) == 4
    table = by_work(large)
    assert table.missing(small) == [] and by_work(small).missing(large) != []
    assert completed_sizes(complete(by_work(small), large)) >= completed_sizes(by_work(small))


def completed_sizes(table: LatencyTable) -> int:
    return sum(len(points) for _, points in table.layers.values())


def test_files_come_back(tmp_path: Path) -> None:
    _, found = segments("mobile")
    requests = requests_of(found, Target.here(threads=3, batch=1), points=3)
    requests.save(tmp_path / "r.json")
    assert Requests.load(tmp_path / "r.json") == requests
    table = by_work(found)
    table.save(tmp_path / "t.json")
    again = LatencyTable.load(tmp_path / "t.json")
    assert again.target == table.target and again.layers == table.layers


DAMAGE = [
    (lambda text: text[:-20], "is damaged at the whole: Invalid JSON"),
    (lambda text: text.replace("latency table", "latency tables", 1), "damaged at format"),
    (lambda text: text.replace('"version": 1', '"version": 2', 1), "damaged at version"),
    (lambda text: text.replace('"threads": ', '"threads": -', 1), "damaged at target.threads"),
    (lambda text: text.replace('"variables":1', '"variables":2', 1), "has a point"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damaged_tables_are_refused(damage: Any, message: str, tmp_path: Path) -> None:
    by_work(segments("signal")[1]).save(tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text()
    assert damage(text) != text
    (tmp_path / "t.json").write_text(damage(text))
    with pytest.raises(ArgumentError, match=message):
        LatencyTable.load(tmp_path / "t.json")
    with pytest.raises(ArgumentError, match="cannot be read: No such file"):
        LatencyTable.load(tmp_path / "none.json")


def test_merging_keeps_both_and_prefers_the_other() -> None:
    _, found = segments("plain")
    table = by_work(found)
    (key, (template, points)), *_ = ((k, v) for k, v in table.layers.items() if v[0].variables)
    at = max(points)
    newer = LatencyTable.of(table.target, [(template, {at: 7.0})])
    merged = table.merged(newer)
    assert merged.layers[key][1][at] == 7.0 and len(merged.layers[key][1]) == len(points)
    assert newer.merged(table).layers[key][1][at] == points[at]
    assert set(merged.layers) == set(table.layers)
    other = replace(newer, target=table.target.model_copy(update={"threads": 64}))
    with pytest.raises(ArgumentError, match=r"of one target to be merged, but threads: \d+ against 64"):
        table.merged(other)


@pytest.mark.parametrize(
    "change", [{"machine": "m"}, {"threads": 64}, {"versions": {"torch": "0"}}], ids=lambda c: next(iter(c))
)
def test_a_table_of_another_target_is_refused(change: dict[str, Any]) -> None:
    _, found = segments("plain")
    table = by_work(found, Target.here().model_copy(update=change))
    name = next(iter(change))
    with pytest.raises(ArgumentError, match=f"this machine, with these threads and libraries, but {name}"):
        table.check_target()
    assert table.check_target(allow_foreign=True)[0].startswith(name)
    assert by_work(found).check_target() == ()


def test_a_layer_that_is_missing_is_measured_or_refused() -> None:
    _, found = segments("plain")
    table = LatencyTable(Target.here(), {})
    with pytest.raises(ArgumentError, match="must hold every layer of the network, but conv2d"):
        LatencyCost(found, table)
    elsewhere = replace(table, target=table.target.model_copy(update={"machine": "m"}))
    with pytest.raises(ArgumentError, match="3 are missing|4 are missing.*cannot be measured here"):
        complete(elsewhere, found)
    done = complete(table, found, points=2)
    assert done.missing(found) == [] and complete(done, found) is done


def test_measuring_uses_the_clock_and_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = segments("signal")
    requests = requests_of(found, Target.here(threads=torch.get_num_threads() + 1), points=2)
    told: list[tuple[str, int, int]] = []
    table = measure(
        requests,
        repeats=2,
        warmup=0,
        clock=Clock(itertools.repeat(0.25)),
        on_layer=lambda *what: told.append(what),
    )
    assert {ms for _, points in table.layers.values() for ms in points.values()} == {250.0}
    assert table.target.threads == torch.get_num_threads() + 1
    assert [t[1:] for t in told] == [(i, len(requests.layers)) for i in range(len(requests.layers) + 1)]


def test_real_times_are_positive_and_anchored() -> None:
    model, inputs = CASES["residual"].model(), CASES["residual"].inputs()
    traced = trace_program(model, inputs)
    table = profile(model, inputs, points=3, repeats=3)
    assert all(ms > 0 for _, points in table.layers.values() for ms in points.values())
    cost = LatencyCost(segments_of(traced), table)
    sizes = np.array([g.size for g in traced.graph.prunable])
    dense, *smaller = anchored(cost, model, traced.graph, inputs, table.target, rounds=5)
    assert min(smaller) <= cost(sizes) and len(cost.anchors) == 1 + len(smaller)
    assert dense == cost.anchors[0][1] > 0


@pytest.mark.parametrize("backend", ["compile", "onnxruntime"])
def test_other_backends_run_a_network(backend: str) -> None:
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    try:
        times = time_networks([net], torch.zeros(1, 3), Target.here(backend), rounds=2, warmup=1)
    except ArgumentError as error:
        pytest.skip(str(error))
    assert times[0] > 0 and net.training


@pytest.mark.parametrize(("name", "number"), [("plain", 1), ("mobile", 2)], ids=["flatten", "depthwise"])
def test_one_export_serves_all_widths(name: str, number: int) -> None:
    """Sizes in the model that was resized are those of an export at the same widths."""
    pytest.importorskip("onnxruntime")
    _, found = segments(name)
    for segment in found[number : number + 1]:
        family = OnnxFamily(segment.template, segment.sizes)
        assert family.uniform
        small = [max(1, size // 2) for size in segment.sizes]
        direct = exported(segment.template, small)
        resized = type(direct).FromString(family.at(small))
        assert [list(w.dims) for w in resized.graph.initializer] == [
            list(w.dims) for w in direct.graph.initializer
        ]
        session = onnx_session(family.at(small), 1)
        inputs = network_of(segment.template.at(small))[1]
        shapes = [o.shape for o in session.run(None, named_inputs(session, inputs, {}))]
        reference = onnx_session(direct.SerializeToString(), 1)
        assert shapes == [o.shape for o in reference.run(None, named_inputs(reference, inputs, {}))]


def test_unknown_things_are_refused() -> None:
    with pytest.raises(ArgumentError, match="backend must be one of eager, compile, onnxruntime, got 'tvm'"):
        profile(nn.Linear(2, 2), torch.zeros(1, 2), backend="tvm")
    with pytest.raises(ArgumentError, match="points must be at least 2, got 1"):
        profile(nn.Linear(2, 2), torch.zeros(1, 2), points=1)
    for name in ("os.system.x", "aten.from_file.default", "aten.nothing.default", "aten.conv2d"):
        with pytest.raises(ArgumentError, match="must be made of ATen ops that this PyTorch has"):
            function_of(name)


def test_a_region_run_by_a_wrapper_is_refused() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.a(x)
            return self.b(x)

    traced = trace_program(Switched(), torch.zeros(1, 3))
    with pytest.raises(ModelError, match="cannot be tabulated: the exported graph has a region"):
        segments_of(traced)


def test_what_was_timed_in_words() -> None:
    timed = Timed(2.0, 1.0, 1.1, limit_ms=0.9, factor=1.2, rounds=1, note="a note")
    assert not timed.holds and timed.error == pytest.approx(0.1) and timed.speedup == 2.0
    assert str(timed) == (
        "measured 1.000 ms against 2.000 ms dense (50.0%, 2.00x); predicted 1.100 ms (error +10.0%); "
        "limit 0.900 ms DOES NOT HOLD; the table's bias was corrected 1 times, factor 1.200; a note"
    )


def test_the_command_measures_carries_and_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiled_net.py").write_text(
        "from torch.nn import Linear, ReLU, Sequential\n\n\n"
        "def net():\n    return Sequential(Linear(3, 4), ReLU(), Linear(4, 2))\n"
    )
    model = ["--model", "profiled_net:net", "--input-shape", "2,3", "--points", "2", "--repeats", "2"]
    done = invoke(app, ["profile", *model, "--out", "requests.json", "--write-requests"])
    assert done.exit_code == 0 and "2 layers at" in done.stdout, done.stderr
    done = invoke(app, ["profile", "--requests", "requests.json", "--out", "t.json", "--repeats", "2"])
    assert done.exit_code == 0 and "2/2 linear (2, v0)" in done.stderr, done.stderr
    assert "2 layers are in t.json" in done.stdout and "batch 2, float32" in done.stdout
    done = invoke(app, ["profile", *model, "--out", "t.json", "-q", "--merge", "t.json"])
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(Path("t.json").read_text())["layers"]) == 2
    done = invoke(app, ["profile", "--out", "t.json"])
    assert done.exit_code == 2 and "give either --model or --requests" in done.stderr
