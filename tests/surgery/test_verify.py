import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.errors import ModelError, PlanError
from autoprune.graph import trace
from autoprune.plan import Plan, make_plan
from autoprune.surgery import apply
from autoprune.verify import check_masked_equals_sliced, verify
from tests.surgery.nets import CASES, Plain, random_keep


def prepared(name: str) -> tuple[nn.Module, Plan, Tensor]:
    model, inputs = CASES[name].model(), CASES[name].inputs()
    graph = trace(model, inputs)
    return model, make_plan(graph, model, random_keep(graph, 0, 0.5)), inputs


@pytest.mark.parametrize("name", CASES)
def test_a_good_plan_passes(name: str) -> None:
    model, plan, inputs = prepared(name)
    state = {n: t.clone() for n, t in model.state_dict().items()}
    found = verify(model, plan, inputs)
    found.require()
    assert found.passed and found.difference <= 1e-12 and found.effect > 1e-3
    assert (found.macs, found.params) == (plan.costs.found["macs"], plan.costs.found["params"])
    assert found.backward is True and found.state_dict is True
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items()) and not model.training


@pytest.mark.cifar
def test_a_trained_residual_network_with_padded_shortcuts(cifar: SimpleNamespace) -> None:
    model, inputs = cifar.models.resnet20(), torch.randn(1, 3, 32, 32)
    graph = trace(model, inputs)
    found = verify(model, make_plan(graph, model, random_keep(graph, 1)), inputs)
    found.require()
    assert found.difference <= 1e-12 and found.effect > 1e-2


def test_another_batch_size_scales_the_macs() -> None:
    model, plan, inputs = prepared("mobile")
    found = verify(model, plan, torch.cat([inputs] * 3), quick=True)
    assert found.passed and found.macs == 3 * plan.costs.found["macs"]
    assert found.backward is None and found.state_dict is None


def test_a_single_image_can_be_verified() -> None:
    model, plan, inputs = prepared("mlp")
    assert verify(model, plan, inputs[:1]).backward is True


def swapped(plan: Plan) -> Plan:
    """Another input of the last layer stays than its producer provides."""
    stays = plan.slices["8.weight"][1]
    other = next(i for i in range(10) if i not in stays)
    slices = {**plan.slices, "8.weight": {1: tuple(sorted((*stays[1:], other)))}}
    return Plan.model_validate({**plan.model_dump(), "slices": slices})


def test_negative_control_a_wrong_slice_is_found() -> None:
    model, plan, inputs = prepared("plain")
    found = verify(model, swapped(plan), inputs)
    assert not found.passed and found.difference > 1e-3
    with pytest.raises(ModelError, match="differ from the masked"):
        found.require()
    assert check_masked_equals_sliced(model, swapped(plan), inputs) == found.difference


def test_negative_control_wrong_costs_are_found() -> None:
    model, plan, inputs = prepared("plain")
    costs = {**plan.costs.model_dump(), "found": {"macs": 7, "params": 9}}
    found = verify(model, Plan.model_validate({**plan.model_dump(), "costs": costs}), inputs)
    with pytest.raises(ModelError, match=r"MACs instead of 7; .* not 9"):
        found.require()
    assert dataclasses.replace(found, backward=False, state_dict=False).faults[2:] == (
        "a train-mode forward and backward pass fails",
        "its weights do not survive a state_dict round trip",
    )


class Fixed(Plain):
    """A size in the forward pass that no attribute explains."""

    def forward(self, x: Tensor) -> Tensor:
        x = self[2](self[1](self[0](x)))
        if x.shape[1] != 8:
            raise ValueError("eight channels, please")
        for layer in list(self)[3:]:
            x = layer(x)
        return x


def test_a_network_that_cannot_run_small_is_an_error() -> None:
    model = Fixed().eval()
    inputs = torch.randn(1, 3, 8, 8)
    graph = trace(model, inputs)
    plan = make_plan(graph, model, {"0.weight": [0, 1]})
    with pytest.raises(ModelError, match="cannot run: ValueError: eight channels"):
        verify(model, plan, inputs)


def test_apply_verifies_always() -> None:
    """Without inputs, on noise of the shapes that the plan remembers; a failure is an error."""
    model, plan, inputs = prepared("plain")
    costs = plan.costs.model_copy(update={"found": {"macs": 7, "params": 9}})
    wrong = plan.model_copy(update={"costs": costs})
    for given in (None, inputs):
        with pytest.raises(ModelError, match="MACs instead of 7"):
            apply(model, wrong, example_inputs=given)
    assert plan.inputs is not None and Plan.from_json(plan.to_json()).inputs == plan.inputs
    apply(model, wrong.model_copy(update={"inputs": None}))  # nothing to run it on


class Picky(Plain):
    """Refuses what is no photograph."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 1 or float(x.abs().amax()) > 1:
            raise ValueError("photographs, please")
        return super().forward(x)


def test_apply_goes_on_where_the_dense_network_refuses_noise(caplog: pytest.LogCaptureFixture) -> None:
    model, inputs = Picky().eval(), torch.rand(1, 3, 8, 8)
    plain = make_plan(trace(Plain().eval(), inputs), Plain().eval(), {"0.weight": [0, 1]})
    with caplog.at_level("INFO", "autoprune"):
        small = apply(model, plain)
    assert "not verified, the dense one fails on made-up inputs: photographs" in caplog.text
    assert small(inputs).shape == model(inputs).shape


class SinglePrecision(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.conv2d(x, torch.ones(3, 1, 1, 1), groups=3))


def test_a_network_of_one_precision_is_verified_in_it() -> None:
    model = SinglePrecision().eval()
    inputs = torch.randn(2, 3, 8, 8)
    graph = trace(model, inputs)
    found = verify(model, make_plan(graph, model, random_keep(graph, 0, 0.5)), inputs)
    assert found.passed and 0 < found.difference < 1e-4 and found.tolerance == 1e-3


def test_nan_and_foreign_plans_are_errors() -> None:
    model, plan, inputs = prepared("plain")
    with pytest.raises(ModelError, match="finite"):
        verify(model, plan, inputs * float("nan"))
    with pytest.raises(PlanError, match="another network"):
        verify(CASES["mlp"].model(), plan, inputs)
    with pytest.raises(ModelError, match="fails on example_inputs"):
        check_masked_equals_sliced(model, plan, torch.randn(1, 5, 8, 8))


class Token(nn.Module):
    """A parameter is the input of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 6))
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.second(self.first(x) + self.first(self.token))))
        return out


def test_a_parameter_as_the_input_of_a_module() -> None:
    model, x = Token().eval(), torch.randn(2, 6)
    graph = trace(model, x)
    verify(model, make_plan(graph, model, random_keep(graph, 0, 0.5)), x).require()
    assert all(p.requires_grad for p in model.parameters())
