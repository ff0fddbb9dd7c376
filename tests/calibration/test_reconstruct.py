import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.calibration import Reconstruction, calibrate, reconstruct, sensitivity_curves
from autoprune.calibration.leastsquares import Regression, solve
from autoprune.calibration.patches import patches
from autoprune.errors import ArgumentError
from autoprune.graph import PruneGraph, trace
from autoprune.plan import make_plan
from autoprune.surgery import apply
from tests.calibration.nets import images, prefix, residual, seen, trained
from tests.surgery.nets import CASES

ALL = 10**6


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)
    )


def no_constant() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3, bias=False), nn.ReLU(), nn.Flatten()
    )


NETS = {"grouped": grouped, "no_constant": no_constant}


def case(name: str) -> tuple[nn.Module, PruneGraph, Tensor]:
    if name == "residual":
        return residual()
    torch.manual_seed(0)
    x = images(40)
    model = trained(NETS[name](), x)
    return model, trace(model, x[:2]), x


def all_positions(call: object, output: Tensor) -> Tensor:
    total = output.shape[2:].numel() if output.dim() > 2 else 1
    return torch.arange(total).expand(len(output), -1)


@pytest.mark.parametrize("name", ["residual", *NETS])
def test_weights_are_the_least_squares_solution_on_the_rows(name: str) -> None:
    model, graph, x = case(name)
    calibration = calibrate(graph, model, [x], positions=ALL)
    keep = prefix(graph, 0.6)
    found = Reconstruction(graph, model, calibration, ridge=1e-13)(keep)
    slices = graph.slices(keep)
    calls = seen(model, graph, x)
    checked = 0
    for weight, (call, output) in calls.items():
        if weight not in calibration.moments:
            continue
        kernel = call.weight[0, 0].numel()
        stay = torch.as_tensor(slices[weight][1])
        columns = (stay[:, None] * kernel + torch.arange(kernel)).flatten()
        where = all_positions(call, output)
        rows = patches(call, where)[:, :, columns]
        outputs = output.flatten(2).transpose(1, 2).flatten(0, 1) if output.dim() > 2 else output
        outputs = outputs.reshape(len(outputs), call.groups, -1).transpose(0, 1)
        constant = call.bias is not None or weight in calibration.norms
        if constant:
            rows = torch.cat([rows, torch.ones_like(rows[:, :, :1])], 2)
        best = torch.linalg.lstsq(rows, outputs).solution
        residue = (rows @ best - outputs).square().sum()
        kept = slices[weight].get(0)
        full = found[weight].reshape(len(found[weight]), -1)
        solution = best[:, : len(columns)].mT.flatten(0, 1)
        solution = solution if kept is None else solution[torch.as_tensor(kept)]
        torch.testing.assert_close(full, solution, rtol=1e-5, atol=1e-5)
        assert float(residue) > 0
        if call.layer.bias is not None:
            bias = best[:, -1].flatten()
            bias = bias if kept is None else bias[torch.as_tensor(kept)]
            torch.testing.assert_close(found[call.layer.bias], bias, rtol=1e-5, atol=1e-5)
        checked += 1
    assert checked


def test_the_batch_norm_takes_the_constant() -> None:
    """The mean of what the first re-fitted layer yields behind its batch norm stays the same."""
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x], positions=ALL)
    keep = {"a1.weight": list(range(4))}
    pruned = apply(model, make_plan(graph, model, keep), calibration)
    found: list[Tensor] = []
    for net in (model, pruned):
        net.na2.register_forward_hook(lambda *args: found.append(args[2]))
        with torch.no_grad():
            net(x)
    torch.testing.assert_close(found[0].mean((0, 2, 3)), found[1].mean((0, 2, 3)))


@pytest.mark.parametrize("name", ["residual", "plain", "mlp", "mobile", "dense", "signal"])
def test_shapes_fit_and_the_error_falls(name: str) -> None:
    if name == "residual":
        model, graph, x = residual()
    else:
        model = CASES[name].model()
        graph = trace(model, CASES[name].inputs())
        dtype = next(model.parameters()).dtype
        x = torch.randn(64, *CASES[name].shape[1:], generator=torch.Generator().manual_seed(0), dtype=dtype)
    calibration = calibrate(graph, model, [x], positions=ALL)
    name = graph.prunable[0].name
    keep = {name: list(range(max(1, graph.group(name).size * 3 // 4)))}
    plan = make_plan(graph, model, keep)
    with torch.no_grad():
        dense = model(x)
        plain, fitted = apply(model, plan)(x), apply(model, plan, calibration)(x)
    assert (fitted - dense).square().mean() < (plain - dense).square().mean()


def test_only_what_changes_is_returned() -> None:
    model, graph, x = residual()
    reconstruction = Reconstruction(graph, model, calibrate(graph, model, [x]))
    assert reconstruction({}) == {}
    found = reconstruction({"a1.weight": range(9)})
    assert set(found) == {"a2.weight", "na2.running_mean"}
    assert found["a2.weight"].shape == (6, 9, 1, 1) and found["a2.weight"].dtype == torch.float64


def test_calls_do_not_depend_on_the_cache() -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x])
    cached, tiny = (Reconstruction(graph, model, calibration, cache_bytes=size) for size in (1 << 20, 1))
    for seed in (0, 1, 0):
        keep = prefix(graph, 0.5, seed)
        expected = reconstruct(graph, model, calibration, keep)
        for one in (cached, tiny):
            found = one(keep)
            assert all(torch.equal(found[name], t) for name, t in expected.items())
    assert len(tiny._cache) == 1


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_solve_is_finite_for_deficient_moments(rank: int) -> None:
    factor = torch.randn(1, 8, rank, dtype=torch.float64)
    found = solve(factor @ factor.mT, torch.randn(1, 8, 2, dtype=torch.float64), 0.0)
    assert torch.isfinite(found).all()


def test_an_indefinite_moment_gets_a_larger_ridge() -> None:
    left = torch.diag(torch.tensor([1.0, 1.0, -1e-3], dtype=torch.float64))[None]
    assert torch.isfinite(solve(left, torch.ones(1, 3, 1, dtype=torch.float64), 1e-9)).all()


def curve_by_brute_force(
    moment: Tensor, weight: Tensor, columns: list[Tensor], always: Tensor
) -> list[float]:
    total = (weight * (moment @ weight)).sum()
    errors = []
    for width in range(len(columns) + 1):
        stay = torch.cat([always, *columns[:width]])
        cross = moment[stay] @ weight
        explained = (cross * torch.linalg.solve(moment[stay][:, stay], cross)).sum() if len(stay) else 0.0
        errors.append(float((total - explained) / total))
    return errors


def test_curves_equal_the_solve_at_every_width() -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x], positions=ALL)
    rng = np.random.default_rng(0)
    order = {g.name: rng.permutation(g.size) for g in graph.prunable}
    curves = sensitivity_curves(graph, model, calibration, order, ridge=1e-4, normalized=False)
    for group, weight, kernel in (("a1.weight", "a2.weight", 1), ("b1.weight", "b2.weight", 9)):
        moment = calibration.moments[weight].centered[0]
        moment = moment + 1e-4 * moment.diagonal().mean() * torch.eye(len(moment))
        matrix = model.state_dict()[weight].flatten(1).T
        columns = [int(u) * kernel + torch.arange(kernel) for u in order[group]]
        expected = curve_by_brute_force(moment, matrix, columns, torch.arange(0))
        np.testing.assert_allclose(curves[group], expected, atol=1e-10)


@pytest.mark.parametrize("name", ["residual", "plain", "dense", "mobile", "mlp"])
@pytest.mark.parametrize("normalized", [False, True])
def test_curves_fall_to_zero(name: str, normalized: bool) -> None:
    model = CASES[name].model()
    graph = trace(model, CASES[name].inputs())
    dtype = next(model.parameters()).dtype
    x = torch.randn(32, *CASES[name].shape[1:], generator=torch.Generator().manual_seed(0), dtype=dtype)
    calibration = calibrate(graph, model, [x])
    order = {g.name: np.arange(g.size) for g in graph.prunable}
    curves = sensitivity_curves(graph, model, calibration, order, normalized=normalized)
    assert set(curves) == set(order)
    for group in graph.prunable:
        curve = curves[group.name]
        assert curve.shape == (group.size + 1,) and np.isfinite(curve).all()
        assert curve[-1] == 0 and (np.diff(curve) <= 1e-12).all() and curve[0] > 0


def test_normalized_curves_are_weighted_by_the_batch_norm() -> None:
    model, graph, x = residual()
    calibration = calibrate(graph, model, [x], positions=ALL)
    order = {g.name: np.arange(g.size) for g in graph.prunable}
    before = sensitivity_curves(graph, model, calibration, order, normalized=True)
    model.na2.weight.data.mul_(3)
    after = sensitivity_curves(graph, model, calibration, order, normalized=True)
    np.testing.assert_allclose(after["a1.weight"], 9 * before["a1.weight"])
    np.testing.assert_allclose(after["b1.weight"], before["b1.weight"])


def test_a_missing_order_is_named() -> None:
    model, graph, x = residual()
    with pytest.raises(ArgumentError, match=graph.prunable[0].name):
        sensitivity_curves(graph, model, calibrate(graph, model, [x]), {})


@pytest.mark.parametrize("constant", [False, True])
def test_regression_equals_least_squares(constant: bool) -> None:
    rows, targets = torch.randn(2, 50, 4, dtype=torch.float64), torch.randn(2, 50, 3, dtype=torch.float64)
    start = torch.zeros(2, 4, 3, dtype=torch.float64)
    weights, offset = Regression(rows + 1, constant, 1e-13, start).fit(targets)
    ones = torch.ones_like(rows[..., :1])
    matrix = torch.cat([rows + 1, ones], 2) if constant else rows + 1
    best = torch.linalg.lstsq(matrix, targets).solution
    torch.testing.assert_close(weights, best[:, :4], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        offset, best[:, 4] if constant else torch.zeros_like(offset), rtol=1e-8, atol=1e-8
    )


def test_relu_steps_lower_the_error_behind_the_relu() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 400, 5, generator=generator, dtype=torch.float64)
    values = (rows @ torch.randn(1, 5, 3, generator=generator, dtype=torch.float64)).pow(3)
    regression = Regression(rows, True, 1e-10, torch.zeros(1, 5, 3, dtype=torch.float64))
    errors = []
    for steps in (0, 1, 3, 10):
        found = regression.predict(*regression.fit_relu(values, 0.0, steps))
        errors.append(float((found.relu() - values.relu()).square().mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.9 * errors[0]
