from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

import autoprune
from autoprune.cli.compare import Contender, Row, accuracy_on_test, compare, contenders, kept_table
from autoprune.cli.demo_report import width_table
from autoprune.cli.events import Events
from autoprune.cli.report import SHAPING, ending, percent, places, report, table
from autoprune.data import DataSplits
from autoprune.display import beside
from autoprune.errors import ModelError
from autoprune.latency import LatencyTable, Target
from tests.api import problem


def text(renderable: object) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(renderable)
        return console.export_text()


@pytest.mark.parametrize(
    ("value", "dense", "expected"),
    [
        (1200, 4800, "1,200 (25.0%)"),
        (1200.0, 4800.0, "1,200 (25.0%)"),
        (1.25, 5.0, "1.250 (25.0%)"),
        (7, 0, "7"),
    ],
)
def test_a_cost_shows_its_share(value: float, dense: float, expected: str) -> None:
    assert beside(value, dense) == expected


def test_percent() -> None:
    assert [percent(v) for v in (None, 0.98765, 1)] == ["-", "98.77%", "100.00%"]


ROWS = [
    Row("dense", {"macs": 1000, "params": 100}, 0.0, 0.99, 0.995),
    Row("found", {"macs": 299, "params": 40}, -0.25, 0.9, 0.98),
]


def test_the_table_holds_every_row_and_column() -> None:
    drawn = text(table(ROWS, epochs=5))
    for part in (
        "dense",
        "found",
        "299 (29.9%)",
        "40 (40.0%)",
        "-0.2500",
        "90.00%",
        "98.00%",
        "after 5 epochs",
    ):
        assert part in drawn


def test_without_fine_tuning_or_test_set_their_columns_are_missing() -> None:
    rows = [Row(r.name, r.costs, r.score, r.before, None) for r in ROWS]
    assert "after" not in text(table(rows, epochs=0))
    untested = [Row(r.name, r.costs, r.score, None, None) for r in ROWS]
    drawn = text(table(untested, epochs=5))
    assert "accuracy" not in drawn
    assert "after" not in drawn
    assert "-0.2500" in drawn


def result(folder: Path | None, stopped: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        stopped=stopped,
        history=[1, 2, 3],
        best=SimpleNamespace(number=2, evaluation=SimpleNamespace(score=-0.2)),
        found=SimpleNamespace(evaluation=SimpleNamespace(score=-0.1)),
        limits={"macs": 500.0},
        run_dir=folder,
        timed=None,
        remarks=(),
    )


def test_the_last_lines_say_how_it_ended_and_where_the_result_lies() -> None:
    assert (
        ending(result(None))
        == "Best of 3 episodes: episode 2 (score -0.2000, re-fitted -0.1000); budget macs <= 500."
    )
    assert ending(result(None, stopped=True)).startswith("Stopped after 3 episodes")
    lines = places(result(Path("runs/x"), stopped=True), tuned=True)
    assert "autoprune.load('runs/x/pruned', dense_model)" in lines
    assert "runs/x/finetuned" in lines
    assert "autoprune resume runs/x" in lines
    assert "resume" not in places(result(Path("runs/x")), tuned=False)


def contender(name: str, widths: dict[str, int], model: nn.Module | None = None) -> Contender:
    evaluation = SimpleNamespace(score=-0.1)
    measured = SimpleNamespace(widths=widths, costs={"macs": 10, "params": 5}, evaluation=evaluation)
    return Contender(name, model or nn.Identity(), measured)  # type: ignore[arg-type]


def test_the_widths_are_drawn_as_bars() -> None:
    drawn = text(
        width_table([contender("dense", {"a": 8, "b": 4}), contender("found", {"a": 4, "b": 1})], bar=4)
    )
    assert "██░░" in drawn
    assert "█░░░" in drawn


def batches(count: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.randint(3, (8,), generator=generator) for _ in range(count)]
    return [(nn.functional.one_hot(y, 3).float(), y) for y in labels]


def test_a_comparison_leaves_the_networks_as_they_are_and_tunes_copies_alike() -> None:
    model = nn.Linear(3, 3)
    weights = model.weight.clone()
    data = DataSplits(batches(4, 0), batches(2, 1), batches(2, 2))
    networks = [contender("one", {}, model), contender("two", {}, model)]
    stages: list[str] = []
    steps: list[tuple[int, int]] = []
    rows, tuned = compare(
        networks, data, epochs=3, device=None, stage=stages.append, step=lambda *s: steps.append(s)
    )
    assert torch.equal(model.weight, weights)
    assert not torch.equal(tuned["one"].weight, weights)  # type: ignore[arg-type]
    assert torch.equal(tuned["one"].weight, tuned["two"].weight)  # type: ignore[arg-type]
    assert [(r.name, r.before, r.after) for r in rows] == [
        (n, accuracy_on_test(model, data), accuracy_on_test(tuned[n], data)) for n in ("one", "two")
    ]
    assert stages == [
        "timing the networks",
        "testing one",
        "fine-tuning one",
        "testing two",
        "fine-tuning two",
    ]
    assert steps == [(done, 6) for done in range(7)]
    assert all(row.milliseconds and row.milliseconds > 0 for row in rows)


def test_a_latency_is_measured_as_the_table_of_the_search_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, data = torch.zeros(1, 1, 8, 8), problem.data()
    data = DataSplits(data.train, data.search_val, data.search_val)
    found = autoprune.search(
        problem.network(), example, data, "latency=90%", run_dir=tmp_path / "run",
        **problem.QUICK | {"agent": "greedy", "episodes": 1, "baselines": ()},
    )  # fmt: skip
    kept = kept_table(found)
    assert kept == tmp_path / "run" / "latency_table.json"
    asked: list[object] = []

    def rival(*args: object, **settings: object) -> object:
        asked.append(settings["latency_table"])
        return found

    monkeypatch.setattr(autoprune, "search", rival)
    networks = contenders(found, problem.network(), example, data, {"budget": "latency=90%"}, lambda _: None)
    assert asked == [kept, kept]
    backends: list[str] = []

    def timed(networks: list[nn.Module], inputs: object, target: Target, **rest: object) -> list[float]:
        backends.append(target.backend)
        return [4.0, 3.0, 2.0, 1.5]

    monkeypatch.setattr("autoprune.latency.time_networks", timed)
    for backend in ("eager", "onnxruntime"):
        table_of = LatencyTable.load(kept)
        LatencyTable(Target.here(backend), table_of.layers).save(kept)
        rows, _ = compare(networks, data, 0, None, lambda _: None, example_inputs=example, latency=kept)
        assert backends.pop() == backend
    drawn = text(table(rows, 0))
    assert [row.costs["latency"] for row in rows] == [4.0, 3.0, 2.0, 1.5]
    assert "1.500 (37.5%)" in drawn and "measured ms" not in drawn
    LatencyTable(Target.here("compile", threads=77), table_of.layers).save(kept)
    compare(networks, data, 0, None, lambda _: None, example_inputs=example, latency=kept)
    assert backends.pop() == "eager", "times of another target"


def test_zero_epochs_tune_nothing() -> None:
    data = DataSplits(batches(2, 0), batches(1, 1), batches(1, 2))
    rows, tuned = compare([contender("one", {}, nn.Linear(3, 3))], data, 0, None, lambda _: None)
    assert tuned == {}
    assert rows[0].after is None


def test_no_test_set_or_no_labels_is_no_error() -> None:
    inputs = [x for x, _ in batches(2, 0)]
    assert accuracy_on_test(nn.Linear(3, 3), DataSplits(inputs, inputs)) is None
    assert accuracy_on_test(nn.Linear(3, 3), DataSplits(inputs, inputs, inputs)) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt(), "interrupted"), (ModelError("the loss went to infinity"), "infinity")],
)
def test_a_failed_comparison_still_shows_what_was_found(
    error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("autoprune.cli.report.contenders", fail)
    found = result(Path("runs/x"))
    found.summary = lambda: "the summary"
    settings = dict.fromkeys(SHAPING)
    shown = report(found, nn.Identity(), None, None, settings, 3, Events())  # type: ignore[arg-type]
    assert shown[0] == "the summary"
    assert reason in shown[1]
    assert "runs/x/pruned" in shown[-1]
    assert "finetuned" not in shown[-1]
