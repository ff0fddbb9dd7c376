"""Searches under budgets that a device feels, on a real tiny network, real measurements included."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import autoprune
from autoprune.errors import ArgumentError, BudgetError
from autoprune.graph import trace_program
from autoprune.latency import LatencyTable, Target, Timed, requests_of, segments_of
from autoprune.run import device
from tests.api.problem import QUICK, data, network

EXAMPLE = torch.zeros(8, 1, 8, 8)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> LatencyTable:
    """Times that are the work of a layer, and whole networks that teach nothing else."""
    monkeypatch.setattr(device, "anchored", lambda *args, **rest: [])
    monkeypatch.setattr(device, "best_step", lambda *args, **rest: 1)
    requests = requests_of(segments_of(trace_program(network(), EXAMPLE)), Target.here(batch=8), points=4)
    layers = [(w.template, {at: 1e-5 * w.template.work(at) for at in w.points}) for w in requests.layers]
    return LatencyTable.of(requests.target, layers)


def search(budget: str, **changes: Any) -> Any:
    return autoprune.search(network(), EXAMPLE, data(), budget, **QUICK | {"baselines": ()} | changes)


def timing(
    monkeypatch: pytest.MonkeyPatch, times: list[tuple[float, float]], calls: int = device.TURNS
) -> list[float]:
    """Dense and pruned network take what `times` says, so many calls each, and the last one from there on."""
    seen: list[float] = []

    def fake(networks: Any, inputs: Any, target: Any, **rest: Any) -> list[float]:
        dense, found = times[min(len(seen) // calls, len(times) - 1)]
        seen.append(found)
        return [dense, found]

    monkeypatch.setattr(device, "time_networks", fake)
    return seen


def test_size_and_memory_are_kept(tmp_path: Path) -> None:
    result = search("size=60%,memory=80%,params=70%", run_dir=tmp_path / "run")
    weights = tmp_path / "run" / "pruned" / "weights.safetensors"
    assert weights.stat().st_size == result.found.costs["size"] <= result.limits["size"]
    assert result.found.costs["memory"] <= result.limits["memory"]
    again = autoprune.resume(tmp_path / "run", model=network(), data=data())
    assert again.found.costs == result.found.costs and again.timed is None


def test_latency_is_timed_at_the_end(table: LatencyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    timing(monkeypatch, [(2.0, 1.75)])
    result = search("latency=90%", latency_table=table)
    assert result.found.costs["latency"] <= result.limits["latency"]
    assert isinstance(result.timed, Timed) and result.timed.holds and result.timed.rounds == 0
    assert (result.timed.dense_ms, result.timed.found_ms, result.timed.limit_ms) == (2.0, 1.75, 1.8)
    assert "measured 1.750 ms against 2.000 ms dense (87.5%, 1.14x)" in result.summary()
    assert len(result.history) == QUICK["episodes"]


def test_a_broken_latency_corrects_the_table_and_goes_on(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timing(monkeypatch, [(2.0, 1.85), (2.0, 1.7)])
    result = search("latency=90%", latency_table=table, run_dir=tmp_path / "run")
    assert result.timed.holds and result.timed.rounds == 1
    assert len(result.history) == QUICK["episodes"] + 2 and not result.stopped
    assert result.best.number >= 0
    assert result.found.costs["latency"] <= result.limits["latency"]
    assert "corrected 1 times" in result.summary()
    timing(monkeypatch, [(2.0, 1.7)])
    again = autoprune.resume(tmp_path / "run", model=network(), data=data())
    assert again.limits == result.limits and again.timed.rounds == 1
    assert again.best.widths == result.best.widths and again.found.costs == result.found.costs


def test_a_latency_far_below_the_limit_corrects_the_table_too(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timing(monkeypatch, [(2.0, 0.95)])
    small = search("latency=50%", latency_table=table, agent="greedy")
    assert small.timed.rounds == 0 and len(small.history) == 1
    timing(monkeypatch, [(2.0, 0.8), (2.0, 0.95)])
    result = search("latency=50%", latency_table=table, agent="greedy", run_dir=tmp_path / "run")
    assert result.timed.rounds == 1 and result.timed.factor == pytest.approx(0.8 * 1.01, rel=0.05)
    assert result.timed.holds and result.best.number == 1
    assert result.found.costs["macs"] > 1.1 * small.found.costs["macs"]
    assert result.found.costs["latency"] <= result.limits["latency"]
    timing(monkeypatch, [(2.0, 0.95)])
    again = autoprune.resume(tmp_path / "run", model=network(), data=data())
    assert again.best.widths == result.best.widths and again.timed.factor == result.timed.factor


def test_of_all_that_was_timed_the_best_that_holds_is_returned(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The correction went too far, and what came after the next one is slower than it looks as well."""
    timing(monkeypatch, [(2.0, 0.8), (2.0, 1.1)])
    result = search("latency=50%", latency_table=table, agent="greedy")
    assert len(result.history) == 1 + device.ROUNDS and result.best.number == 0 and result.timed.holds
    assert result.timed.factor == 1.0 and result.found.costs["latency"] <= result.limits["latency"]


@pytest.mark.parametrize("budget", ["latency=100%,macs=50%", "latency=100%,params=40%"])
def test_a_small_latency_that_another_budget_made_is_no_fault_of_the_table(
    budget: str, table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = timing(monkeypatch, [(2.0, 0.5)])
    assert search(budget, latency_table=table, agent="greedy").timed.rounds == 0 and len(seen) == device.TURNS


def test_gives_up_after_some_rounds_and_says_so(table: LatencyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    timing(monkeypatch, [(2.0, 1.81)])
    result = search("latency=90%", latency_table=table)
    assert not result.timed.holds and result.timed.rounds <= device.ROUNDS
    assert "DOES NOT HOLD" in result.summary()


def test_a_latency_at_the_edge_is_not_enough(table: LatencyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = timing(monkeypatch, [(2.0, 1.79), (2.0, 1.7)])
    result = search(latency_table=table, budget="latency=90%", episodes=4)
    assert result.timed is not None and result.timed.rounds == 1 and len(seen) == 2 * device.TURNS


def test_a_latency_must_hold_in_every_turn(table: LatencyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median holds by 5 %, but one of three measurements does not hold."""
    timing(monkeypatch, [(2.0, 1.71), (2.0, 1.85), (4.0, 3.2), (2.0, 1.7)], calls=1)
    result = search("latency=90%", latency_table=table)
    assert result.timed is not None and result.timed.rounds == 1 and result.timed.spread == 1.0
    assert result.timed.factor >= 1.85 / 1.71
    timing(monkeypatch, [(2.0, 1.7), (4.0, 3.5), (2.0, 1.72)], calls=1)
    timed = search("latency=90%", latency_table=table).timed
    assert timed is not None and timed.rounds == 0 and (timed.dense_ms, timed.found_ms) == (2.0, 1.72)
    assert timed.spread == pytest.approx(1.75 / 1.72)
    assert "the longest of several measurements 1.750 ms" in str(timed)


def test_what_held_at_the_edge_is_kept_where_nothing_better_comes(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timing(monkeypatch, [(2.0, 1.79), (2.0, 1.81)])
    result = search("latency=90%", latency_table=table, run_dir=tmp_path / "run")
    assert result.timed.holds and (result.timed.found_ms, result.timed.factor) == (1.79, 1.0)
    assert (
        len(result.history) > QUICK["episodes"] and result.found.costs["latency"] <= result.limits["latency"]
    )


def test_agents_of_one_episode_go_on_too(table: LatencyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    timing(monkeypatch, [(2.0, 1.85), (2.0, 1.7)])
    result = search("latency=90%", latency_table=table, agent="uniform")
    assert result.timed.holds and len(result.history) == 2 and result.best.number == 1


def test_a_table_of_another_target_is_refused_or_noted(table: LatencyTable, tmp_path: Path) -> None:
    text_path = tmp_path / "table.json"
    table.save(text_path)
    text = text_path.read_text()
    text_path.write_text(re.sub(r'"machine": "[^"]*"', '"machine": "elsewhere"', text))
    with pytest.raises(ArgumentError, match="must be measured on this machine.*machine: elsewhere against"):
        search("latency=90%", latency_table=text_path)
    result = search("latency=90%", latency_table=text_path, allow_foreign_table=True)
    assert result.timed is None and "nothing was timed here" in result.summary()
    text_path.write_text(re.sub(r'"layers": \[\n.*?\},\n', '"layers": [\n', text_path.read_text(), count=1))
    with pytest.raises(ArgumentError, match="layers? are missing|1 are missing.*cannot be measured here"):
        search("latency=90%", latency_table=text_path, allow_foreign_table=True)


def test_missing_layers_are_measured_now(table: LatencyTable) -> None:
    part = LatencyTable(table.target, dict(list(table.layers.items())[1:]))
    result = search("macs=50%", latency_table=part)
    assert "1 layers were not in the latency table and were measured now" in result.summary()
    assert result.timed.limit_ms is None and result.timed.found_ms > 0


def test_an_infeasible_combination_names_what_binds(table: LatencyTable) -> None:
    with pytest.raises(BudgetError, match="cannot be met.*size is still .* bytes|size is still"):
        search("latency=100%,size=10%", latency_table=table, lower=0.5)


def liked(times: int, monkeypatch: pytest.MonkeyPatch, step: int) -> tuple[LatencyTable, list[int]]:
    """A table whose kernels take blocks of `times` channels; what anchors are asked for, of a step of whole
    networks."""
    asked: list[int] = []
    monkeypatch.setattr(device, "anchored", lambda *args, round_to, **rest: asked.append(round_to))
    monkeypatch.setattr(device, "best_step", lambda *args, **rest: step)
    timing(monkeypatch, [(2.0, 1.75)])
    requests = requests_of(segments_of(trace_program(network(), EXAMPLE)), Target.here(batch=8), points=40)
    blocks = [
        (
            w.template,
            {at: 1e-5 * w.template.work(tuple(-(-v // times) * times for v in at)) for at in w.points},
        )
        for w in requests.layers
    ]
    return LatencyTable.of(requests.target, blocks), asked


def sizes_of() -> dict[str, int]:
    return {group.name: group.size for group in autoprune.trace(network(), EXAMPLE).prunable}


@pytest.mark.parametrize("step", [1, 8])
def test_widths_are_rounded_to_what_the_device_shows(
    step: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table, asked = liked(4, monkeypatch, step)
    result = search("latency=90%", latency_table=table, run_dir=tmp_path / "run", round_to="auto")
    sizes = sizes_of()
    multiple = {name: 8 if step == 8 and size >= 32 else 4 for name, size in sizes.items()}
    rounded = {name: width for name, width in result.plan.widths.items() if sizes[name] >= 8}
    assert rounded and all(w % multiple[name] == 0 or w == sizes[name] for name, w in rounded.items())
    assert asked == [step]
    assert "widths are multiples of what the device likes (round_to=auto): " in result.summary()
    again = autoprune.resume(tmp_path / "run", model=network(), data=data())
    assert again.plan.widths == result.plan.widths and asked == [step]


def test_multiples_give_way_to_a_tight_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = liked(4, monkeypatch, 1)
    sizes = sizes_of()
    widest = sizes | search("latency=90%", latency_table=table, round_to="auto").plan.widths
    large = [name for name, size in sizes.items() if size >= 8]
    assert large and all(widest[name] % 4 == 0 for name in large)
    tight = search("latency=90%,params=20%", latency_table=table, round_to="auto")
    assert tight.found.costs["params"] <= tight.limits["params"]
    assert any((sizes | tight.plan.widths)[name] % 4 for name in large)
    with pytest.raises(BudgetError, match="round_to=1"):
        search("latency=90%,params=1%", latency_table=table, round_to="auto")


def test_a_device_that_likes_multiples_much_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table, _ = liked(1, monkeypatch, 16)
    result = search("latency=90%", latency_table=table, run_dir=tmp_path / "run", round_to=1)
    text = "much faster here where widths are multiples of 16: round_to='auto'"
    assert text in result.summary()
    monkeypatch.setattr(device, "best_step", lambda *args: pytest.fail("it is known"))
    again = autoprune.resume(tmp_path / "run", model=network(), data=data())
    assert text in again.summary()
    assert text not in search("latency=90%", latency_table=table, round_to=2).summary()


@pytest.mark.parametrize(("budget", "round_to"), [
    ("latency=90%", "auto"), ("macs=90%,latency=90%", "auto"), ("macs=90%", 1),
])  # fmt: skip
def test_only_a_latency_budget_asks_for_multiples(
    budget: str, round_to: int | str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table, _ = liked(1, monkeypatch, 1)
    search(budget, latency_table=table, run_dir=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())["body"]
    assert config["settings"]["round_to"] == round_to


def test_rounding_by_the_table_needs_one() -> None:
    with pytest.raises(ArgumentError, match="round_to='auto' reads .* latency table"):
        search("macs=90%", round_to="auto")
