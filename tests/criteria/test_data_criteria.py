import copy
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import mutual_info_score
from torch import Tensor, nn

from autoprune.calibration import Calibration, calibrate
from autoprune.calibration.statistics.mutual_information import binned
from autoprune.criteria.activation import Activation
from autoprune.criteria.apoz import Apoz
from autoprune.criteria.criterion import Context, Criterion
from autoprune.criteria.fisher import Fisher
from autoprune.criteria.gradient import Gradient
from autoprune.criteria.hessian import Hessian
from autoprune.criteria.kl_divergence import KLDivergence
from autoprune.criteria.l2 import L2
from autoprune.criteria.mutual_information import MutualInformation
from autoprune.criteria.obs import OBS, obs_update
from autoprune.criteria.oracle import Oracle
from autoprune.criteria.taylor import Taylor
from autoprune.criteria.taylor_activation import TaylorActivation
from autoprune.criteria.wanda import Wanda
from autoprune.errors import ArgumentError, DataError
from autoprune.graph import PruneGraph, trace
from autoprune.masks.granularity import Weight
from tests.calibration.nets import images, residual, trained

STATISTICS: list[type[Criterion]] = [
    Gradient, Taylor, TaylorActivation, Fisher, Hessian, Wanda, Activation, Apoz, MutualInformation,
]  # fmt: skip
RUNNING: list[type[Criterion]] = [KLDivergence, Oracle]
ALL = 10**6

Parts = tuple[nn.Module, PruneGraph, Tensor, Tensor, Calibration]


@pytest.fixture(scope="module")
def parts() -> Parts:
    model, graph, x = residual()
    y = torch.randint(4, (len(x),), generator=torch.Generator().manual_seed(5))
    names = sorted({name for criterion in STATISTICS for name in criterion().statistics})
    return model, graph, x, y, calibrate(graph, model, [(x, y)], positions=ALL, statistics=names)


def context(parts: Parts, batches: Any = None) -> Context:
    model, graph, _, _, calibration = parts
    return Context.of(graph, model, calibration, batches=batches)


def gradients(parts: Parts) -> list[dict[str, Tensor]]:
    """Of every image's loss, one after the other."""
    model, _, x, y, _ = parts
    named = dict(model.named_parameters())
    rows = []
    for i in range(len(x)):
        found = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(named.values()))
        rows.append(dict(zip(named, found, strict=True)))
    return rows


def by_unit(parts: Parts, values: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """For every unit the values of all its parameter elements, each once."""
    result: dict[str, list[Tensor]] = {}
    for group in parts[1].prunable:
        result[group.name] = []
        for unit in group.members:
            inside = {name: torch.zeros(t.shape, dtype=torch.bool) for name, t in values.items()}
            for member in unit:
                if member.parameter in inside:
                    inside[member.parameter].index_fill_(member.dim, torch.tensor(member.indices), True)
            result[group.name].append(torch.cat([values[name][mask] for name, mask in inside.items()]))
    return result


def check(
    criterion: Criterion, parts: Parts, values: dict[str, Tensor], of: Callable[[Tensor], Tensor]
) -> None:
    scores = criterion.scores(context(parts))
    expected = by_unit(parts, values)
    assert set(scores) == set(expected)
    for name, units in expected.items():
        torch.testing.assert_close(scores[name], torch.stack([of(unit) for unit in units]))


def check_elements(criterion: Criterion, parts: Parts, values: dict[str, Tensor]) -> None:
    elements = criterion.elements(context(parts))
    assert criterion.elementwise and set(elements) == {layer.weight for layer in parts[1].layers}
    for name, tensor in elements.items():
        torch.testing.assert_close(tensor, values[name].detach())


def mean(rows: list[dict[str, Tensor]], of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: torch.stack([of(row[name]) for row in rows]).mean(0) for name in rows[0]}


def test_gradient(parts: Parts) -> None:
    values = mean(gradients(parts), torch.abs)
    check(Gradient(), parts, values, torch.mean)
    check_elements(Gradient(), parts, values)


def test_taylor(parts: Parts) -> None:
    weights = dict(parts[0].named_parameters())
    values = {n: g * weights[n].detach() for n, g in mean(gradients(parts), lambda g: g).items()}
    check(Taylor(), parts, values, lambda t: t.sum() ** 2)
    check_elements(Taylor(), parts, {name: t**2 for name, t in values.items()})


def test_fisher(parts: Parts) -> None:
    weights = dict(parts[0].named_parameters())
    squares = mean(gradients(parts), torch.square)
    values = {n: f * weights[n].detach() ** 2 / 2 for n, f in squares.items()}
    check(Fisher(), parts, values, torch.sum)
    check_elements(Fisher(), parts, values)


def test_hessian(parts: Parts) -> None:
    model, _, _, _, calibration = parts
    diagonal = calibration.statistic("hessian")
    assert any(bool((diagonal[n] < 0).any()) for n, _ in model.named_parameters())
    values = {n: diagonal[n].abs() * w.detach() ** 2 / 2 for n, w in model.named_parameters()}
    check(Hessian(), parts, values, torch.sum)
    check_elements(Hessian(), parts, values)


def inputs(parts: Parts, layer: str) -> tuple[Tensor, Tensor]:
    """What one layer reads, and the gradient of each image's loss there."""
    model, _, x, y, _ = parts
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    loss = F.cross_entropy(model(x), y, reduction="sum")
    handle.remove()
    (gradient,) = torch.autograd.grad(loss, kept)
    return kept[0].detach(), gradient


class Loop(nn.Module):
    """A residual convolution that reads and puts out one group, and a grouped one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.wide, self.grouped = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 6, 1, groups=2)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.wide(torch.relu(x + self.inner(torch.relu(x))))
        return self.head(self.grouped(torch.relu(x)).mean((2, 3)))


def test_an_element_that_a_unit_has_twice_counts_once(parts: Parts) -> None:
    x, y = parts[2], parts[3]
    model = trained(Loop(), x)
    graph = trace(model, x[:2])
    found = calibrate(graph, model, [(x, y)], statistics=["gradient", "gradient_abs"])
    here = model, graph, x, y, found
    both = [a.dim for a in graph.group("stem.weight").axes if a.parameter == "inner.weight"]
    assert sorted(both) == [0, 1]
    check(Gradient(), here, mean(gradients(here), torch.abs), torch.mean)
    weights = dict(model.named_parameters())
    products = {n: g * weights[n].detach() for n, g in mean(gradients(here), lambda g: g).items()}
    check(Taylor(), here, products, lambda t: t.sum() ** 2)


def test_taylor_activation(parts: Parts) -> None:
    scores = TaylorActivation().scores(context(parts))
    for group, layer in (("a1.weight", "a2"), ("b1.weight", "b2")):
        activation, gradient = inputs(parts, layer)
        slow = [
            sum(float((activation[i, u] * gradient[i, u]).mean().abs()) for i in range(24)) / 24
            for u in range(10)
        ]
        torch.testing.assert_close(scores[group], torch.tensor(slow).double())


def test_activation_and_apoz(parts: Parts) -> None:
    means, shares = Activation().scores(context(parts)), Apoz().scores(context(parts))
    for group, layer in (("a1.weight", "a2"), ("b1.weight", "b2")):
        activation, _ = inputs(parts, layer)
        zeros = [float((activation[:, u] == 0).double().mean()) for u in range(10)]
        torch.testing.assert_close(means[group], activation.mean((0, 2, 3)))
        torch.testing.assert_close(shares[group], 1 - torch.tensor(zeros).double())
        assert shares[group].min() > 0 and shares[group].max() < 1


def test_mutual_information(parts: Parts) -> None:
    scores = MutualInformation().scores(context(parts))
    codes = binned(inputs(parts, "a2")[0].mean((2, 3)).float(), 8)
    slow = [mutual_info_score(codes[:, u].tolist(), parts[3].tolist()) for u in range(10)]
    torch.testing.assert_close(scores["a1.weight"], torch.tensor(slow).double())


def test_wanda(parts: Parts) -> None:
    model = parts[0]
    scores = Wanda().scores(context(parts))
    elements, ranks = (Wanda(per_output).elements(context(parts)) for per_output in (False, True))
    rows = F.unfold(inputs(parts, "b2")[0], 3, padding=1).transpose(1, 2).flatten(0, 1)
    weight = model.b2.weight.detach()
    slow = torch.zeros_like(weight).flatten(1)
    for i, j in itertools.product(range(slow.shape[0]), range(slow.shape[1])):
        slow[i, j] = weight.flatten(1)[i, j].abs() * rows[:, j].norm()
    scaled = slow / len(rows) ** 0.5
    torch.testing.assert_close(elements["b2.weight"], scaled.view_as(weight))
    torch.testing.assert_close(scores["b1.weight"], scaled.view_as(weight).sum((0, 2, 3)))
    assert set(elements) == set(ranks) == {layer.weight for layer in parts[1].layers}
    kept = Weight().mask(ranks["b2.weight"], 0.6).flatten(1)
    for i in range(len(slow)):
        assert set(kept[i].nonzero().flatten().tolist()) == set(slow[i].topk(36).indices.tolist())


def test_wanda_sees_depthwise_and_transposed_layers() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ConvTranspose2d(4, 5, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(125, 3),
    )  # fmt: skip
    x = images(12)
    model = trained(net, x)
    graph = trace(model, x[:2])
    calibration = calibrate(graph, model, [x], statistics=["input_square"])
    of = Context.of(graph, model, calibration)
    elements = Wanda(per_output=False).elements(of)
    with torch.no_grad():
        first = net[1](net[0](x))
        second = net[2](first)
    depthwise = F.unfold(first, 3).square().mean((0, 2)).sqrt().view(4, 1, 3, 3)
    torch.testing.assert_close(elements["2.weight"], net[2].weight.detach().abs() * depthwise)
    norms = second.square().mean((0, 2, 3)).sqrt()
    transposed = net[3].weight.detach().abs() * norms.view(4, 1, 1, 1)
    torch.testing.assert_close(elements["3.weight"], transposed)
    group = next(g for g in graph.prunable if any(a.parameter == "3.weight" and a.dim == 0 for a in g.axes))
    torch.testing.assert_close(Wanda().scores(of)[group.name], transposed.sum((1, 2, 3)))


def without_unit(parts: Parts, group: str, unit: int) -> Tensor:
    """Class scores of a copy whose unit is zeroed by hand."""
    model, graph, x, _, _ = parts
    other = copy.deepcopy(model)
    state = other.state_dict()
    for member in graph.group(group).members[unit]:
        state[member.parameter].index_fill_(member.dim, torch.tensor(member.indices), 0)
    with torch.no_grad():
        return other(x)


def test_oracle_and_kl_divergence_are_what_zeroing_and_measuring_gives(parts: Parts) -> None:
    model, graph, x, y, _ = parts
    batches = list(zip(x.split(7), y.split(7), strict=True))
    before = {key: t.clone() for key, t in model.state_dict().items()}
    model.train()
    oracle, divergence = (c().scores(context(parts, batches)) for c in (Oracle, KLDivergence))
    assert model.training and all(torch.equal(t, before[key]) for key, t in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        dense = model(x)
    for group in graph.prunable:
        outputs = [without_unit(parts, group.name, unit) for unit in range(group.size)]
        losses = [F.cross_entropy(o, y) - F.cross_entropy(dense, y) for o in outputs]
        torch.testing.assert_close(oracle[group.name], torch.stack(losses))
        divergences = [
            F.kl_div(o.log_softmax(1), dense.log_softmax(1), reduction="batchmean", log_target=True)
            for o in outputs
        ]
        torch.testing.assert_close(divergence[group.name], torch.stack(divergences))
    assert oracle["stem.weight"].unique().numel() > 1


def test_an_oracle_needs_batches_with_labels(parts: Parts) -> None:
    model, _, x, _, _ = parts
    runs: list[int] = []
    handle = model.register_forward_pre_hook(lambda *_: runs.append(1))
    for criterion in RUNNING:
        with pytest.raises(ArgumentError, match=f"'{criterion.name}' .*needs batches, got None"):
            criterion().scores(context(parts))
    with pytest.raises(DataError, match="'oracle' needs labels"):
        Oracle().scores(context(parts, [x]))
    handle.remove()
    assert not runs
    assert KLDivergence().scores(context(parts, [x]))["a1.weight"].shape == (10,)


@pytest.mark.parametrize("criterion", STATISTICS)
def test_what_was_not_gathered_is_asked_for(criterion: type[Criterion], parts: Parts) -> None:
    model, graph, x, _, _ = parts
    (statistic,) = criterion().statistics
    with pytest.raises(ArgumentError, match=rf"statistics=\['{statistic}'\]"):
        criterion().scores(Context.of(graph, model, calibrate(graph, model, [x])))
    with pytest.raises(ArgumentError, match=rf"'{criterion.name}' needs calibration.*\['{statistic}'\]"):
        criterion().scores(Context.of(graph, model))


@pytest.mark.parametrize("criterion", [*STATISTICS, *RUNNING, OBS])
def test_what_every_criterion_declares(criterion: type[Criterion], parts: Parts) -> None:
    assert (
        criterion.__doc__
        and criterion.needs <= {"weights", "gradients", "data"}
        and "data" in criterion.needs
    )
    assert criterion.runs == (criterion in RUNNING)
    batches = [(parts[2], parts[3])]
    for group, scores in criterion().scores(context(parts, batches)).items():
        assert scores.shape == (parts[1].group(group).size,) and scores.dtype == torch.float64
    if not criterion.elementwise:
        with pytest.raises(ArgumentError, match="whole units only"):
            criterion().elements(context(parts))
        return
    for name, tensor in criterion().elements(context(parts)).items():
        assert tensor.shape == parts[0].get_parameter(name).shape and bool(tensor.isfinite().all())


class Attention(nn.Module):
    """The inner channels of the attention are read by no layer that can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(torch.relu(self.hidden(x)).mean(1))


def test_groups_that_are_not_seen_fall_back_to_l2(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, x, y = Attention().double().eval(), torch.randn(6, 4, 5).double(), torch.arange(6) % 3
    graph = trace(model, x[:2])
    calibration = calibrate(
        graph,
        model,
        [(x, y)],
        statistics=["activation", "taylor_activation", "input_square", "hessian", "gradient_abs"],
    )
    of = Context.of(graph, model, calibration)
    unseen = {g.name for g in graph.prunable} - set(calibration.statistic("activation"))
    assert unseen
    for criterion in (Activation(), TaylorActivation(), Wanda()):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "autoprune"):
            scores = criterion.scores(of)
        for name in unseen:
            assert name in caplog.text
            torch.testing.assert_close(scores[name], L2().scores(of)[name])
    with torch.no_grad():
        hidden = torch.relu(model.hidden(model.embed(x) + model.attention(*[model.embed(x)] * 3)[0])).mean(1)
    torch.testing.assert_close(Activation().scores(of)["hidden.weight"], hidden.mean(0))


def quadratic(groups: int = 1) -> tuple[Tensor, Tensor]:
    """A weight (4, 6) and the moments of some correlated rows."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(groups, 50, 6, generator=generator).double()
    rows = rows @ torch.randn(groups, 6, 6, generator=generator).double()
    return torch.randn(4, 6, generator=generator).double(), rows.mT @ rows / 50


def best(weight: Tensor, columns: list[int], moment: Tensor) -> tuple[Tensor, float]:
    """Least squares over some columns, by a factor of the moment, and the squared error."""
    root = torch.linalg.cholesky(moment).mT
    target = root @ weight
    solution = torch.linalg.lstsq(root[:, columns], target[:, None]).solution[:, 0]
    return solution, float((root[:, columns] @ solution - target).square().sum())


@pytest.mark.parametrize("groups", [1, 2])
def test_obs_update_is_the_least_squares_over_what_stays(groups: int) -> None:
    weight, moment = quadratic(groups)
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) > 0.4
    mask[3] = mask[2]
    mask[1] = False
    updated = obs_update(weight, mask, moment, ridge=0.0)
    for row in range(4):
        columns = mask[row].nonzero().flatten().tolist()
        assert bool((updated[row, ~mask[row]] == 0).all())
        if columns:
            expected, _ = best(weight[row], columns, moment[row * groups // 4])
            torch.testing.assert_close(updated[row, columns], expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(obs_update(weight, torch.ones_like(mask), moment, 0.1), weight)
    shaped = obs_update(weight.float().view(4, 3, 2), mask.view(4, 3, 2), moment, 0.0)
    assert shaped.dtype == torch.float32
    torch.testing.assert_close(shaped.flatten(1), updated.float(), rtol=1e-4, atol=1e-5)


def test_obs_update_with_a_ridge() -> None:
    weight, moment = quadratic()
    mask = torch.tensor([True, False, True, True, False, True]).expand(4, 6)
    regular = moment[0] + 0.2 * moment[0].diagonal().mean() * torch.eye(6).double()
    updated = obs_update(weight, mask, moment, ridge=0.2)
    for row in range(4):
        expected, _ = best(weight[row], [0, 2, 3, 5], regular)
        torch.testing.assert_close(updated[row, mask[row]], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("mask", "moment", "words"),
    [
        (torch.ones(4, 6), torch.eye(6)[None], "mask must be bool"),
        (torch.ones(4, 5) > 0, torch.eye(6)[None], "mask must be bool of the weight's shape"),
        (torch.ones(4, 6) > 0, torch.eye(5)[None], "moment must have shape"),
        (torch.ones(4, 6) > 0, torch.eye(6).expand(3, 6, 6), "moment must have shape"),
    ],
)
def test_obs_update_refuses_other_shapes(mask: Tensor, moment: Tensor, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        obs_update(torch.ones(4, 6), mask, moment)


def test_obs_scores_of_single_weights_are_the_brute_force_errors(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    model, _, _, _, calibration = parts
    with caplog.at_level(logging.WARNING, "autoprune"):
        elements = OBS().elements(context(parts))
    moment = calibration.moments["a2.weight"].centered[0]
    regular = moment + 1e-4 * moment.diagonal().mean() * torch.eye(10).double()
    for row, column in itertools.product(range(6), range(10)):
        weight = model.a2.weight.detach().flatten(1)[row]
        _, error = best(weight, [c for c in range(10) if c != column], regular)
        assert float(elements["a2.weight"].flatten(1)[row, column]) == pytest.approx(error, rel=1e-6)
    assert "stem.weight" in caplog.text and "a2.weight" not in caplog.text
    torch.testing.assert_close(elements["stem.weight"], model.stem.weight.detach().square())
