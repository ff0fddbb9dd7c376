import copy
import pickle
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autoprune.calibration import Reconstruction, calibrate
from autoprune.errors import ArgumentError, PlanError
from autoprune.graph import PruneGraph, trace
from autoprune.plan import Plan, make_plan
from autoprune.surgery import apply, masked
from tests.surgery.nets import CASES, Case, Mlp, Plain, Shared, random_keep

ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
ALIASES = {"again.weight", "again.bias", "c.weight"}


def prepared(case: Case, seed: int = 0, share: float | None = 0.5) -> tuple[nn.Module, PruneGraph, Plan]:
    model = case.model()
    graph = trace(model, case.inputs())
    assert graph.prunable, "a case without prunable groups tests nothing"
    return model, graph, make_plan(graph, model, random_keep(graph, seed, share))


def parts(plan: Plan) -> Mapping[str, list[int]]:
    return {name: list(group.keep) for name, group in plan.groups.items()}


@ALL
@pytest.mark.parametrize("seed", range(3))
def test_masked_equals_sliced(case: Case, seed: int) -> None:
    model = case.model().double()
    graph = trace(model, case.inputs(torch.float64))
    keep = random_keep(graph, seed)
    x = case.inputs(torch.float64)
    with torch.no_grad():
        dense = model(x)
        sliced = apply(model, make_plan(graph, model, keep))(x)
        with masked(model, graph, keep):
            expected = model(x)
    scale = dense.abs().max()
    assert (sliced - expected).abs().max() <= 1e-12 * scale
    assert (sliced - dense).abs().max() > 1e-3 * scale, "the removed units must matter, else nothing is shown"


@ALL
def test_negative_control_one_swapped_unit_is_seen(case: Case) -> None:
    model = case.model().double()
    x = case.inputs(torch.float64)
    graph = trace(model, x)
    keep = random_keep(graph, 0, 0.5)
    group = next(g for g in graph.prunable if g.size > 2)
    wrong = sorted(
        set(keep[group.name][1:]) | {next(u for u in range(group.size) if u not in keep[group.name])}
    )
    with torch.no_grad():
        sliced = apply(model, make_plan(graph, model, {**keep, group.name: wrong}))(x)
        with masked(model, graph, keep):
            expected = model(x)
    assert (sliced - expected).abs().max() > 1e-6 * expected.abs().max()


@ALL
def test_costs_are_those_of_the_returned_network(case: Case) -> None:
    model, graph, plan = prepared(case)
    small = apply(model, plan)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(case.inputs())
    assert plan.costs.found["macs"] == counter.get_total_flops() // 2 < plan.costs.dense["macs"]
    assert plan.costs.found["params"] == sum(p.numel() for p in small.parameters())
    assert plan.costs.dense["params"] == sum(p.numel() for p in model.parameters())
    assert plan.widths == {n: w for n, w in graph.widths(plan.widths).items() if w < graph.group(n).size}


@ALL
def test_shapes_are_those_of_a_network_built_small(case: Case) -> None:
    """Every conv, linear and norm says of itself what its tensors are."""
    model, _, plan = prepared(case)
    small = apply(model, plan)
    assert type(small) is type(model)
    for path, module in small.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            fresh = type(module)(
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                groups=module.groups,
            )
            assert fresh.weight.shape == module.weight.shape, path
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features), path
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            sizes = {t.shape[0] for t in (module.weight, module.bias, module.running_mean)}
            assert sizes == {module.num_features}, path
        elif isinstance(module, nn.PReLU):
            assert module.weight.shape == (module.num_parameters,)


@ALL
def test_the_dense_model_is_untouched_and_shares_nothing(case: Case) -> None:
    model, _, plan = prepared(case)
    before = copy.deepcopy(model.state_dict())
    attributes = [repr(m) for m in model.modules()]
    small = apply(model, plan)
    with torch.no_grad():
        for tensor in (*small.parameters(), *small.buffers()):
            tensor.fill_(7)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [repr(m) for m in model.modules()] == attributes
    assert not {id(m) for m in model.modules()} & {id(m) for m in small.modules()}


@ALL
def test_a_training_step_works(case: Case) -> None:
    model, _, plan = prepared(case)
    small = apply(model, plan).train()
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    before = {name: p.detach().clone() for name, p in small.named_parameters()}
    out = small(case.inputs())
    F.cross_entropy(out, torch.zeros(len(out), dtype=torch.int64)).backward()
    optimizer.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.parameters())
    assert any(not torch.equal(before[name], p) for name, p in small.named_parameters())


@ALL
def test_pickle_and_deepcopy_and_a_second_apply_give_the_same_network(case: Case) -> None:
    model, _, plan = prepared(case)
    small, x = apply(model, plan), case.inputs()
    with torch.no_grad():
        expected = small(x)
        for other in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small), apply(model, plan)):
            assert torch.equal(other(x), expected)
            assert list(other.state_dict()) == list(model.state_dict())


def test_it_can_be_pruned_again() -> None:
    model, _, plan = prepared(CASES["residual"])
    small = apply(model, plan)
    graph = trace(small, CASES["residual"].inputs())
    again = make_plan(graph, small, random_keep(graph, 1, 0.5))
    smaller = apply(small, again)
    assert again.costs.dense == plan.costs.found
    assert smaller(CASES["residual"].inputs()).shape == (2, 5)


def test_ties_stay_ties() -> None:
    model, _, plan = prepared(CASES["shared"])
    small = apply(model, plan)
    assert isinstance(small, Shared)
    assert small.b is small.again
    assert small.c.weight is small.b.weight is small.aliases[0]
    assert small.aliases[1] is small.a
    assert len(list(small.parameters())) == len(list(model.parameters()))
    widths = {small.c.in_features, small.c.out_features, small.b.in_features, small.a.out_features}
    assert widths == {next(iter(plan.widths.values()))}


def test_requires_grad_dtype_and_modes_are_kept() -> None:
    model, _, plan = prepared(CASES["plain"])
    model.half()
    model[0].weight.requires_grad_(False)
    model[1].train()
    small = apply(model, plan)
    assert all(p.dtype == torch.float16 for p in small.parameters())
    flags = [p.requires_grad for p in small.parameters()]
    assert flags == [p.requires_grad for p in model.parameters()] and flags.count(False) == 1
    assert [m.training for m in small.modules()] == [m.training for m in model.modules()]


def test_weights_can_train_even_if_made_in_inference_mode() -> None:
    model, _, plan = prepared(CASES["mlp"])
    with torch.inference_mode():
        small = apply(model, plan)
    small.train()(torch.randn(4, 6)).sum().backward()
    assert not any(t.is_inference() for t in (*small.parameters(), *small.buffers()))


def test_channels_last_weights_stay_channels_last() -> None:
    model, _, plan = prepared(CASES["plain"])
    model.to(memory_format=torch.channels_last)
    weight = apply(model, plan)[3].weight
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_a_wrapped_model_gives_the_inner_network() -> None:
    model, graph, plan = prepared(CASES["mlp"])
    wrapped = nn.DataParallel(model)
    assert make_plan(graph, wrapped, parts(plan)) == plan
    small = apply(wrapped, plan)
    assert type(small) is Mlp
    assert torch.equal(small(CASES["mlp"].inputs()), apply(model, plan)(CASES["mlp"].inputs()))


class Wider(Plain):
    def __init__(self) -> None:
        super().__init__()
        self[3] = nn.Conv2d(8, 13, 3, stride=2)


class Longer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.append(nn.Linear(5, 5))


class Shorter(Plain):
    def __init__(self) -> None:
        super().__init__()
        del self[8]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Wider, "'3.weight' has shape (13, 8, 3, 3) instead of (12, 8, 3, 3)"),
        (Longer, "'9.weight' of shape (5, 5) too many"),
        (Shorter, "no tensor '8.weight' of shape (5, 10)"),
    ],
)
def test_a_plan_for_another_network_is_refused_with_the_first_difference(
    other: type[nn.Module], words: str
) -> None:
    _, graph, plan = prepared(CASES["plain"])
    with pytest.raises(PlanError) as error:
        apply(other(), plan)
    assert words in str(error.value)
    with pytest.raises(ArgumentError, match="traced from"):
        make_plan(graph, other(), parts(plan))


def test_a_plan_for_tied_weights_is_refused_where_they_are_not_tied() -> None:
    _, _, plan = prepared(CASES["shared"])
    other = Shared()
    other.c = nn.Linear(10, 10, bias=False)
    with pytest.raises(PlanError, match=r"'c\.weight'"):
        apply(other, plan)


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"0": {"training": 1}}, "'0.training'"),
        ({"0": {"stride": 1}}, "'0.stride'"),
        ({"2": {"in_channels": 1}}, "'2.in_channels'"),
        ({"nowhere": {"in_channels": 1}}, "no module 'nowhere'"),
    ],
)
def test_a_plan_can_change_known_attributes_only(modules: dict[str, dict[str, int]], words: str) -> None:
    model, _, plan = prepared(CASES["plain"])
    foreign = Plan.model_validate({**plan.model_dump(), "modules": modules})
    with pytest.raises(PlanError) as error:
        apply(model, foreign)
    assert words in str(error.value)


@ALL
def test_a_calibration_gives_least_squares_weights(case: Case) -> None:
    model, graph, plan = prepared(case)
    generator = torch.Generator().manual_seed(9)
    data = [torch.randn(32, *case.shape[1:], generator=generator) for _ in range(2)]
    calibration = calibrate(graph, model, data)
    weights = Reconstruction(graph, model, calibration)(parts(plan))
    plain, fitted = apply(model, plan), apply(model, plan, calibration)
    assert weights
    for name, value in fitted.state_dict(keep_vars=True).items():
        expected = weights.get(name, plain.state_dict()[name])
        if name not in ALIASES:
            torch.testing.assert_close(value.detach(), expected, rtol=0, atol=0)
        assert value.requires_grad == model.state_dict(keep_vars=True)[name].requires_grad
