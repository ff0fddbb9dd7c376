import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.calibration import Refit, calibrate, recalibrate_bn, refit
from autoprune.calibration.chains import Chain, find_chains
from autoprune.criteria import rank
from autoprune.errors import ArgumentError, DataError
from autoprune.graph import PruneGraph, trace
from autoprune.plan import make_plan
from autoprune.surgery import apply
from tests.calibration.nets import images, prefix, residual, trained
from tests.surgery.nets import CASES

ALL = 10**6


def chains_of(model: nn.Module, x: Tensor) -> dict[str, tuple[str | None, bool, bool]]:
    graph = trace(model, x[:2])
    found = find_chains(model, graph.layers, lambda: model(x))
    return {k: (c.norm.mean if c.norm else None, c.joins, c.relu) for k, c in found.items()}


def test_chains_of_a_residual_network() -> None:
    model, _, x = residual()
    assert chains_of(model, x) == {
        "stem.weight": ("bn.running_mean", False, True),
        "a1.weight": ("na1.running_mean", False, True),
        "a2.weight": ("na2.running_mean", True, True),
        "b1.weight": (None, False, True),
        "b2.weight": ("nb2.running_mean", True, True),
        "head.weight": (None, False, False),
    }


class Odd(nn.Module):
    """Two layers whose patterns must not be taken for others."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        match self.how:
            case "norm read twice":
                y = F.relu(self.norm(y)) + y.mean()
            case "normalized read twice":
                y = self.norm(y)
                y = F.relu(y) * y
            case "other function":
                y = torch.tanh(y) + x.sum(1, keepdim=True)
            case "scaled sum":
                y = torch.add(y, self.two(x), alpha=2)
            case "broadcast sum":
                y = y + x[:, :1]
            case "number":
                y = F.relu(y + 1)
            case "projection":
                y = F.relu(self.norm(y) + self.two(x))
            case "sum read twice":
                y = y + self.two(x)
                y = F.relu(y) + y
        return self.last(y)


@pytest.mark.parametrize(
    ("how", "one", "two"),
    [
        ("norm read twice", (None, False, False), None),
        ("normalized read twice", ("norm.running_mean", False, False), None),
        ("other function", (None, False, False), None),
        ("scaled sum", (None, False, False), (None, False, False)),
        ("broadcast sum", (None, False, False), None),
        ("number", (None, False, False), None),
        ("projection", ("norm.running_mean", True, True), (None, False, False)),
        ("sum read twice", (None, True, False), (None, False, False)),
    ],
)
def test_other_patterns_fall_back(how: str, one: tuple[object, ...], two: tuple[object, ...] | None) -> None:
    found = chains_of(trained(Odd(how), images()), images())
    assert found["one.weight"] == one and found.get("two.weight") == two


def test_a_layer_that_runs_twice_has_no_chain() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).double()
    both = nn.Sequential(model, model)
    assert (
        find_chains(
            both, trace(both, torch.zeros(2, 4).double()).layers, lambda: both(torch.ones(2, 4).double())
        )
        == {}
    )
    assert Chain() == (None, False, False)


def setting(name: str) -> SimpleNamespace:
    if name == "residual":
        model, graph, x = residual()
    elif name in CASES:
        model = CASES[name].model().double()
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(64, *CASES[name].shape[1:], generator=generator, dtype=torch.float64)
        model = trained(model, x)
        graph = trace(model, x[:2])
    else:
        torch.manual_seed(0)
        x = images()
        model = trained(Odd(name), x)
        graph = trace(model, x[:2])
    calibration = calibrate(graph, model, [x], positions=ALL)
    return SimpleNamespace(model=model, graph=graph, x=x, calibration=calibration)


def error(dense: nn.Module, pruned: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((pruned(x) - dense(x)).square().mean())


def pruned_of(s: SimpleNamespace, keep: dict[str, list[int]]) -> nn.Module:
    return apply(s.model, make_plan(s.graph, s.model, keep), s.calibration)


NETS = [
    "residual",
    "plain",
    "mlp",
    "mobile",
    "dense",
    "signal",
    "projection",
    "sum read twice",
    "normalized read twice",
]


@pytest.mark.parametrize("name", NETS)
def test_refit_beats_the_symmetric_reconstruction(name: str) -> None:
    s = setting(name)
    keep = prefix(s.graph, 0.6)
    pruned = pruned_of(s, keep)
    before = error(s.model, pruned, s.x)
    refit(s.model, pruned, s.graph, keep, [s.x], positions=ALL)
    after = error(s.model, pruned, s.x)
    assert np.isfinite(after) and after < before
    assert not pruned.training


def test_nothing_lost_nothing_changed() -> None:
    s = setting("residual")
    same = copy.deepcopy(s.model)
    refit(s.model, same, s.graph, {}, [s.x])
    assert all(torch.equal(t, same.state_dict()[name]) for name, t in s.model.state_dict().items())


def test_units_that_do_nothing_are_removed_without_a_trace() -> None:
    """The pruned weights start out wrong; the exact solution exists, and the pass must find it."""
    s = setting("residual")
    with torch.no_grad():
        s.model.a2.weight[:, 7:] = 0
    keep = {"a1.weight": list(range(7))}
    pruned = pruned_of(
        SimpleNamespace(**{**vars(s), "calibration": calibrate(s.graph, s.model, [s.x])}), keep
    )
    with torch.no_grad():
        pruned.a2.weight.add_(0.1)
        pruned.b1.weight.mul_(0.9)
        pruned.nb2.running_mean.add_(1)
    assert error(s.model, pruned, s.x) > 1e-3
    refit(s.model, pruned, s.graph, keep, [s.x], positions=ALL, ridge=1e-12)
    assert error(s.model, pruned, s.x) < 1e-10


def test_the_last_layer_is_the_least_squares_fit_on_the_pruned_inputs() -> None:
    s = setting("residual")
    keep = prefix(s.graph, 0.5)
    pruned = pruned_of(s, keep)
    refit(s.model, pruned, s.graph, keep, [s.x], positions=ALL, ridge=1e-12)
    inputs: list[Tensor] = []
    pruned.head.register_forward_hook(lambda *args: inputs.append(args[1][0]))
    with torch.no_grad():
        pruned(s.x)
        rows = torch.cat([inputs[0], torch.ones(len(s.x), 1, dtype=torch.float64)], 1)
        best = torch.linalg.lstsq(rows, s.model(s.x)).solution
    torch.testing.assert_close(pruned.head.weight.detach(), best[:-1].T, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pruned.head.bias.detach(), best[-1], rtol=1e-5, atol=1e-6)


def test_a_residual_branch_repairs_the_stream() -> None:
    """What the first block loses reaches the head through the shortcut; the second block must lessen it."""
    s = setting("residual")
    keep = {"a1.weight": list(range(5))}
    first, second = pruned_of(s, keep), pruned_of(s, keep)
    refit(s.model, second, s.graph, keep, [s.x], positions=ALL)
    before, after = (
        float((stream(net, s.x) - stream(s.model, s.x)).square().mean()) for net in (first, second)
    )
    assert after < 0.8 * before


def stream(model: nn.Module, x: Tensor) -> Tensor:
    """What the head reads."""
    found: list[Tensor] = []
    handle = model.head.register_forward_hook(lambda *args: found.append(args[1][0]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return found[0]


def test_dense_network_modes_and_weights_are_untouched_and_one_refit_serves_many() -> None:
    s = setting("residual")
    before = {name: t.clone() for name, t in s.model.state_dict().items()}
    s.model.train()
    fit = Refit(s.graph, s.model, [s.x], positions=8, seed=1)
    found = []
    for seed in (0, 1, 0):
        keep = prefix(s.graph, 0.5, seed)
        pruned = pruned_of(s, keep).train()
        fit(pruned, keep)
        assert pruned.training
        found.append({name: t.clone() for name, t in pruned.state_dict().items()})
    assert s.model.training
    assert all(torch.equal(t, before[name]) for name, t in s.model.state_dict().items())
    assert all(torch.equal(t, found[2][name]) for name, t in found[0].items())


def test_channels_that_the_batch_norm_silences_are_left_alone() -> None:
    s = setting("residual")
    s.model.na2.weight.data[2] = 0
    keep = {"a1.weight": list(range(5))}
    pruned = pruned_of(s, keep)
    old = pruned.a2.weight[2].clone()
    refit(s.model, pruned, s.graph, keep, [s.x])
    assert torch.equal(pruned.a2.weight[2], old) and all(
        torch.isfinite(t).all() for t in pruned.state_dict().values()
    )


@pytest.mark.parametrize("settings", [{"positions": 0}, {"relu_steps": -1}, {"ridge": -1.0}])
def test_bad_settings(settings: dict[str, float]) -> None:
    s = setting("residual")
    with pytest.raises(ArgumentError, match=f"got .*{next(iter(settings.values()))}"):
        Refit(s.graph, s.model, [s.x], **settings)


def test_no_images() -> None:
    s = setting("residual")
    with pytest.raises(DataError, match="empty"):
        Refit(s.graph, s.model, [])


@pytest.mark.cifar
def test_resnet20_at_half_width(cifar: SimpleNamespace) -> None:
    """On few images; the benchmarks have the real numbers."""
    raw, _ = cifar.data.tensors("train")
    test, _ = cifar.data.tensors("test")
    x, held = cifar.data.normalize(raw[:400]), cifar.data.normalize(test[::50])
    model = cifar.models.resnet20()
    graph: PruneGraph = trace(model, x[:1])
    calibration = calibrate(graph, model, [x], positions=16)
    order = rank(graph, model, "obs", calibration)
    keep = {g.name: sorted(order[g.name][: g.size // 2].tolist()) for g in graph.prunable}
    first = apply(model, make_plan(graph, model, keep), calibration)
    second = copy.deepcopy(first)
    recalibrate_bn(first, [x])
    refit(model, second, graph, keep, [x], positions=8)

    def divergence(net: nn.Module) -> float:
        with torch.no_grad():
            return float(F.kl_div(net(held).log_softmax(1), model(held).softmax(1), reduction="batchmean"))

    assert divergence(second) < 0.85 * divergence(first)
