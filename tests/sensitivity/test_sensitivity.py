"""The analysis on a small network: points against single evaluations, resuming, bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autoprune
from autoprune.calibration import calibrate, sensitivity_curves
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import L2, rank
from autoprune.data import DataSplits, FirstImages
from autoprune.errors import ArgumentError, DataError, RunError
from autoprune.graph import trace
from autoprune.score import KL, SearchImages
from autoprune.sensitivity import Point, Sensitivity
from tests.api.problem import data, network, tensors

SMALL: dict[str, Any] = {"search_images": 40, "calibration_images": 80, "fit_images": 48, "criterion": "l2"}
RATIOS = (0.2, 0.5, 0.9)


def run(**changes: Any) -> Sensitivity:
    arguments: dict[str, Any] = {"ratios": RATIOS, **SMALL, **changes}
    model = arguments.pop("model", None) or network()
    return autoprune.sensitivity(model, None, arguments.pop("data", None) or data(), **arguments)


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """The widths of every evaluation that is really made."""
    made: list[dict[str, int]] = []
    build = CandidateEvaluator._build

    def counted(self: CandidateEvaluator, widths: Any) -> Any:
        made.append(dict(widths))
        return build(self, widths)

    monkeypatch.setattr(CandidateEvaluator, "_build", counted)
    return made


@pytest.mark.parametrize("reconstruct", [True, False])
def test_points_are_single_evaluations_of_an_own_evaluator(reconstruct: bool) -> None:
    result = run(reconstruct=reconstruct)
    model, splits = network(), data()
    search = FirstImages(splits.search_val, 40, seed=0, name="data.search_val")
    images = SearchImages(model, search)
    seen = {n: FirstImages(splits.train, n, seed=0, name="data.train") for n in (80, 48)}
    graph = trace(model, next(iter(search)).first(1).inputs)
    calibration = calibrate(graph, model, seen[80], seed=0)
    order = rank(graph, model, "l2", calibration)
    curves = sensitivity_curves(graph, model, calibration, order)
    evaluator = CandidateEvaluator(
        graph, model, calibration, order, KL(images), seen[48], reconstruct=reconstruct
    )
    expected = []
    for group in graph.prunable:
        for ratio in RATIOS:
            width = max(1, int(np.floor((1 - ratio) * group.size + 1e-3)))
            metrics = evaluator.evaluate({group.name: width}).metrics
            expected.append(
                Point(group.name, group.size, ratio, width, error=float(curves[group.name][width]), **metrics)
            )
    assert result.points == tuple(expected)
    assert result.dense == pytest.approx(images.measure(model))
    assert result.settings["reconstruct"] is reconstruct


def test_a_width_is_evaluated_once_and_every_ratio_is_told(evaluations: list[dict[str, int]]) -> None:
    told: list[tuple[Point, int, int]] = []
    stages: list[str] = []
    ratios = (0.5, 0.51, 0.5, 0.88, 0.99)
    result = run(
        ratios=ratios, groups=["conv1.weight"], on_point=lambda *a: told.append(a), on_stage=stages.append
    )
    assert [p.width for p in result.points] == [4, 3, 1, 1]
    assert evaluations == [{"conv1.weight": w} for w in (4, 3, 1)]
    assert [(p, d, n) for p, d, n in told] == [(p, i + 1, 4) for i, p in enumerate(result.points)]
    assert stages == ["trace", "calibrate", "rank", "measure"]


class Stop(Exception):
    pass


def test_resuming_gives_the_same_points_and_evaluates_nothing_twice(
    tmp_path: Path, evaluations: list[dict[str, int]]
) -> None:
    path = tmp_path / "new" / "points.json"
    whole = run()
    total = len(evaluations)
    evaluations.clear()

    def stop(point: Point, done: int, count: int) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        run(path=path, on_point=stop)
    assert len(evaluations) == 4
    assert len(json.loads(path.read_text())["body"]["points"]) == 4
    assert run(path=path) == whole
    assert len(evaluations) == total
    assert len({tuple(e.items()) for e in evaluations}) == total
    assert run(path=path) == whole
    assert len(evaluations) == total, "a finished file needs no evaluation"


def test_a_file_grows_with_other_ratios_and_groups(tmp_path: Path, evaluations: list[dict[str, int]]) -> None:
    path = tmp_path / "points.json"
    first = run(path=path, groups=["conv1.weight"], ratios=(0.5,))
    whole = run(path=path)
    assert whole == run()
    assert first.points[0] in whole.points
    assert evaluations.count({"conv1.weight": 4}) == 2, "once for the file, once for the run without one"


def refused(path: Path, **changes: Any) -> str:
    before = path.read_bytes()
    with pytest.raises(RunError) as caught:
        run(path=path, groups=["conv1.weight"], ratios=(0.5,), **changes)
    assert path.read_bytes() == before
    return str(caught.value)


def test_refuses_the_file_of_another_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "points.json"
    run(path=path, groups=["conv1.weight"], ratios=(0.5,))
    monkeypatch.setattr("autoprune.run.sensitivity.pose", lambda *a, **k: pytest.fail("work was done"))
    other = network()
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1
    assert "its seed is 0, now it is 1; name another path" in refused(path, seed=1)
    assert "its criterion is 'l2', now it is 'l1'" in refused(path, criterion="l1")
    assert "its fit_images is 48, now it is 32" in refused(path, fit_images=32)
    assert "its reconstruct is True, now it is False" in refused(path, reconstruct=False)
    assert "its network (SHA-256) is" in refused(path, model=other)
    changed = DataSplits(data().train, [tensors(64, 7)])
    assert "its images of data.search_val (SHA-256) is" in refused(path, data=changed)


def test_refuses_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    run(path=path, groups=["conv1.weight"], ratios=(0.5,))
    text = path.read_text()
    path.write_text(text.replace('"width": 4', '"width": 5'))
    assert "was edited" in refused(path)
    path.write_text(text[:-40])
    assert "is damaged" in refused(path)
    with pytest.raises(RunError, match="cannot read"):
        run(path=tmp_path)


def test_without_labels() -> None:
    unlabeled = DataSplits([tensors(96, 1)[0]], [tensors(64, 2)[0]])
    result = run(data=unlabeled, ratios=(0.5,))
    assert result.dense.keys() == {"kl"}
    assert all(p.accuracy is None and p.loss is None and p.kl >= 0 for p in result.points)
    assert "KL divergence" in result.table()


def test_groups_are_patterns_and_a_criterion_may_be_an_object() -> None:
    result = run(groups=["conv?.weight", "conv1.weight"], ratios=(0.5,), criterion=L2())
    assert set(result.groups) == {g for g in run(ratios=(0.5,)).groups if g.startswith("conv")}
    assert result.settings["criterion"].startswith("custom:")


BAD = [
    (
        {"ratios": ()},
        ArgumentError,
        r"ratios must be pruning ratios in \[0, 1\), the share that goes, got none",
    ),
    ({"ratios": (0.5, 1.0)}, ArgumentError, "got 1.0 among them"),
    ({"ratios": 0.5}, ArgumentError, r"ratios must be numbers such as \(0.25, 0.5\), got 0.5"),
    ({"ratios": ("many",)}, ArgumentError, "ratios must be numbers such as"),
    ({"ratios": (-0.1,)}, ArgumentError, "got -0.1 among them"),
    ({"ratios": (float("nan"),)}, ArgumentError, "got nan among them"),
    ({"criterion": "l7"}, ArgumentError, "criterion must be one of .* got 'l7'"),
    ({"groups": ["conv9*"]}, ArgumentError, "groups: no group matches 'conv9.*'; did you mean 'conv"),
    ({"groups": "conv1.weight"}, ArgumentError, "groups must be a sequence of names or patterns"),
    ({"groups": []}, ArgumentError, "groups must name at least one group"),
    ({"groups": ["head.weight"]}, ArgumentError, "'head.weight' is locked"),
    ({"search_images": 0}, ArgumentError, "search_images: .*got 0"),
    ({"seed": -1}, ArgumentError, "seed: .*got -1"),
    ({"data": object()}, DataError, "data must have the loaders train and search_val"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD)
def test_bad_input_is_refused_before_any_work(
    changes: dict[str, Any], kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.run.sensitivity.pose", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(kind, match=message):
        run(**changes)


def test_the_network_is_untouched() -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run(model=model, ratios=(0.5,), groups=["conv1.weight"])
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
