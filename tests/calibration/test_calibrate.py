import copy
import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.calibration import Calibration, calibrate
from autoprune.calibration import calibrate as calibrate_function
from autoprune.errors import ArgumentError, DataError, ModelError, PlanError
from autoprune.graph import trace
from tests.calibration.nets import Residual, images, residual, seen, trained

ALL = 10**6
CONSUMERS = {"a1.weight", "a2.weight", "b1.weight", "b2.weight", "head.weight"}


def test_moments_are_those_of_the_unfolded_maps() -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, x.split(7), positions=ALL)
    assert set(calibration.moments) == CONSUMERS and not calibration.skipped
    call, _ = seen(model, graph, x)["b2.weight"]
    rows = F.unfold(call.inputs, 3, padding=1).transpose(1, 2).flatten(0, 1)
    moment = calibration.moments["b2.weight"]
    torch.testing.assert_close(moment.second[0], rows.T @ rows / len(rows))
    torch.testing.assert_close(moment.mean[0], rows.mean(0))
    torch.testing.assert_close(moment.centered[0], torch.cov(rows.T, correction=0))
    assert (moment.rows, calibration.images) == (len(rows), len(x))


def test_batches_and_labels_make_no_difference() -> None:
    model, graph, x = residual()
    one = calibrate(graph, model, [x], positions=ALL).moments["a2.weight"].second
    many = calibrate(graph, model, [(part, torch.zeros(len(part))) for part in x.split(5)], positions=ALL)
    torch.testing.assert_close(one, many.moments["a2.weight"].second)


def test_sampling_is_seeded_and_estimates_the_whole() -> None:
    model, graph, x = residual()

    def second(positions: int, seed: int) -> Tensor:
        return calibrate(graph, model, [x], positions=positions, seed=seed).moments["b2.weight"].second

    assert torch.equal(second(4, 0), second(4, 0)) and not torch.equal(second(4, 0), second(4, 1))
    whole = second(ALL, 0)
    assert (second(18, 0) - whole).norm() < 0.2 * whole.norm()


def test_float32_is_accurate() -> None:
    model, graph, x = residual()
    exact = calibrate(graph, model, [x], positions=ALL).moments["b2.weight"].second
    single = calibrate(graph, model.float(), [x.float()], positions=ALL).moments["b2.weight"].second
    assert (single - exact).norm() < 1e-5 * exact.norm()


def test_the_batch_norm_behind_a_layer_is_found() -> None:
    model, graph, x = residual()
    norms = calibrate(graph, model, [x]).norms
    assert {name: norm.mean for name, norm in norms.items()} == {
        "a1.weight": "na1.running_mean",
        "a2.weight": "na2.running_mean",
        "b2.weight": "nb2.running_mean",
    }
    scale, shift = norms["a2.weight"].affine(dict(model.state_dict()))
    value = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    expected = model.na2(value)
    torch.testing.assert_close(value * scale.view(-1, 1, 1) + shift.view(-1, 1, 1), expected)


def test_the_model_is_as_before_and_runs_in_eval_mode() -> None:
    model, graph, x = residual()
    model.train()
    model.bn.eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    calibrate(graph, model, [x])
    assert model.training and not model.bn.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_what_cannot_be_measured_is_listed_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    model, graph, x = residual()
    monkeypatch.setattr(sys.modules[calibrate_function.__module__], "LARGEST", 60)
    with caplog.at_level(logging.WARNING, "autoprune"):
        calibration = calibrate(graph, model, [x])
    assert set(calibration.skipped) == {"b2.weight"} and "90" in calibration.skipped["b2.weight"]
    assert "b2.weight" in caplog.text and set(calibration.moments) == CONSUMERS - {"b2.weight"}


def test_consumers_that_no_known_function_uses_are_skipped() -> None:
    model, graph, x = residual()
    other = copy.deepcopy(model)
    other.a2.forward = lambda y: torch.einsum("nchw,oc->nohw", y, other.a2.weight[:, :, 0, 0])
    calibration = calibrate(graph, other, [x])
    assert set(calibration.skipped) == {"a2.weight"} and "no convolution" in calibration.skipped["a2.weight"]


def broken(name: str) -> tuple[nn.Module, Tensor]:
    model, _, x = residual()
    if name == "weights":
        model.a1.weight.data[0, 0, 0, 0] = torch.nan
    if name == "outputs":
        model.head.register_forward_hook(lambda *_: torch.full((1,), torch.nan))
    return model, x


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("weights", ModelError, "a1.weight"), ("outputs", ModelError, "outputs.*batch 0")],
)
def test_a_broken_model_is_named(name: str, error: type[Exception], words: str) -> None:
    graph = residual()[1]
    model, x = broken(name)
    with pytest.raises(error, match=words):
        calibrate(graph, model, [x])
    assert not model.training


@pytest.mark.parametrize(
    ("batches", "positions", "error", "words"),
    [
        ([], 4, DataError, "at least one image"),
        ([torch.zeros(0, 3, 6, 6).double()], 4, DataError, "at least one image"),
        ([torch.full((2, 3, 6, 6), torch.nan).double()], 4, DataError, "batch 0"),
        ([images(2)], 0, ArgumentError, "positions.*got 0"),
    ],
)
def test_bad_arguments(batches: list[Tensor], positions: int, error: type[Exception], words: str) -> None:
    model, graph, _ = residual()
    with pytest.raises(error, match=words):
        calibrate(graph, model, batches, positions=positions)


def test_save_and_load(tmp_path: Path) -> None:
    model, graph, x = residual()
    first = calibrate(graph, model, [x], positions=5, seed=3)
    first.save(tmp_path / "c.safetensors")
    second = Calibration.load(tmp_path / "c.safetensors", graph)
    assert (second.images, second.positions, second.seed) == (24, 5, 3)
    assert second.norms == first.norms and second.skipped == first.skipped
    for name, moment in first.moments.items():
        assert (
            torch.equal(moment.second, second.moments[name].second)
            and moment.rows == second.moments[name].rows
        )


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    model, graph, x = residual()
    path = tmp_path / "c.safetensors"
    calibrate(graph, model, [x]).save(path)
    other = trained(Residual(inner=9), x)
    with pytest.raises(PlanError, match="another network"):
        Calibration.load(path, trace(other, x[:2]))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PlanError, match=r"c\.safetensors.*damaged"):
        Calibration.load(path, graph)
    path.write_bytes(b"")
    with pytest.raises(PlanError, match="damaged"):
        Calibration.load(path, graph)
