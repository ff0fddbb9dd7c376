"""The two forms of a pruned network: the model's own class, and the rewritten exported graph."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import autoprune
from autoprune.calibration import calibrate, recalibrate_bn, refit
from autoprune.candidate import CandidateEvaluator
from autoprune.errors import ArgumentError, ModelError, PlanError
from autoprune.graph import PruneGraph, counted_macs, trace
from autoprune.graph.rewritten import RewrittenModule
from autoprune.plan import Plan, make_plan
from autoprune.score import KL, SearchImages
from autoprune.surgery import apply, masked, proven, proven_for
from autoprune.surgery.compare import cast, outputs
from autoprune.verify import verify
from tests.api.problem import tensors
from tests.surgery.nets import CASES, random_keep
from tests.surgery.stiff import STIFF, RowByRow, SingleImage, image, stiff

ALL = pytest.mark.parametrize("name", STIFF)


def prepared(name: str, share: float | None = 0.5) -> tuple[nn.Module, Any, PruneGraph, Plan]:
    model, inputs = stiff(name)
    graph = proven(trace(model, inputs(2)))
    return model, inputs, graph, make_plan(graph, model, random_keep(graph, 0, share))


@pytest.mark.parametrize("name", CASES)
def test_normal_networks_keep_their_class(name: str) -> None:
    model = CASES[name].model()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    plain = trace(model, CASES[name].inputs())
    graph = proven(plain)
    assert graph.form == "class" and graph.groups == plain.groups and "own class" in graph.form_reason
    assert proven(graph) is graph and plain.form_reason == ""
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert make_plan(graph, model, random_keep(graph)) == make_plan(plain, model, random_keep(plain))


@ALL
def test_stiff_networks_become_graphs_for_any_batch(name: str) -> None:
    model, inputs, graph, plan = prepared(name)
    assert graph.form == plan.form == "graph" and graph.prunable and plan.modules == {}
    keep = {n: group.keep for n, group in plan.groups.items()}
    model.double()
    small = apply(model, plan)
    assert isinstance(small, RewrittenModule) and not small.training
    for count in (1, 2, 5):
        x = cast(inputs(count), torch.float64)
        with masked(model, graph, keep):
            expected = outputs(model, x)
        dense = outputs(model, x)
        for a, b, c in zip(outputs(small, x), expected, dense, strict=True):
            assert (a - b).abs().max() <= 1e-12 * c.abs().max()
        assert (expected[0] - dense[0]).abs().max() > 1e-6, "the removed units must matter"


@ALL
def test_verification_costs_and_names(name: str) -> None:
    model, inputs, _, plan = prepared(name)
    found = verify(model, plan, inputs(3))
    found.require()
    assert found.backward is True and found.state_dict is True and found.effect > 1e-6
    small = apply(model, plan, example_inputs=inputs(2))
    assert counted_macs(small, inputs(2)) == plan.costs.found["macs"] < plan.costs.dense["macs"]
    assert list(small.state_dict()) == list(model.state_dict())
    assert [n for n, _ in small.named_parameters()] == [n for n, _ in model.named_parameters()]


def test_the_plan_says_so_and_survives_a_file(tmp_path: Path) -> None:
    _, _, _, plan = prepared("viewed")
    assert "form: the rewritten exported graph (its own class cannot follow (RuntimeError" in repr(plan)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    model, inputs = CASES["plain"].model(), CASES["plain"].inputs()
    other = autoprune.plan(trace(model, inputs), widths={"0.weight": 4}, criterion="l1")
    assert "form: the model's own class" in repr(other)
    assert '"form"' not in other.to_json() and '"exported"' not in other.to_json()
    assert Plan.from_json(other.to_json()).form == "class"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "class"}, "exported must be given for the form 'graph' and for no other"),
        ({"exported": None}, "exported must be given"),
        ({"modules": {"stem": {"out_channels": 3}}}, "modules must be empty"),
        ({"form": "picture"}, "form"),
    ],
)
def test_a_plan_of_mixed_form_is_refused(change: dict[str, Any], words: str) -> None:
    _, _, _, plan = prepared("viewed")
    data = plan.model_dump(mode="json") | change
    with pytest.raises(PlanError, match=words):
        Plan.from_json(json.dumps(data))


LOADER = """
import sys, torch, autoprune
from tests.surgery.stiff import STIFF
for name in sys.argv[2:]:
    make, inputs = STIFF[name]
    small = autoprune.load(f"{sys.argv[1]}/{name}", make().eval())
    args = inputs(4)
    with torch.no_grad():
        out = small(**args) if isinstance(args, dict) else small(args)
    torch.save(out, f"{sys.argv[1]}/{name}.pt")
"""


def test_save_and_load_in_a_new_process(tmp_path: Path, root: Path) -> None:
    expected = {}
    for name in ("residual", "named"):
        model, inputs, _, plan = prepared(name)
        small = apply(model, plan)
        with torch.no_grad():
            for parameter in small.parameters():
                parameter.mul_(1.25)
        autoprune.save(small, plan, tmp_path / name)
        args = inputs(4)
        with torch.no_grad():
            expected[name] = small(**args) if isinstance(args, dict) else small(args)
    command = [sys.executable, "-c", LOADER, str(tmp_path), *expected]
    subprocess.run(command, cwd=root, check=True, timeout=120)
    for name, out in expected.items():
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        torch.testing.assert_close(found, out, rtol=0, atol=0)


def test_pickle_and_deepcopy() -> None:
    model, inputs, _, plan = prepared("residual")
    small = apply(model, plan)
    for other in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small)):
        assert torch.equal(other(inputs(3)), small(inputs(3)))


def test_it_trains_as_the_model_does() -> None:
    model, inputs, _, plan = prepared("residual")
    small = apply(model.train(), plan)
    assert small.training
    x = inputs(16)
    before = small.get_buffer("norm.running_mean").clone()
    first, second = small(x), small(x)
    assert not torch.equal(first, second), "dropout must drop"
    assert not torch.equal(before, small.get_buffer("norm.running_mean"))
    small.eval()
    assert torch.equal(small(x), small(x))
    small.requires_grad_(True).train()(x).square().mean().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_arguments_may_come_in_any_order_but_not_in_other_shapes() -> None:
    model, inputs, _, plan = prepared("named")
    small, args = apply(model, plan), inputs(3)
    expected = small(**args)["logits"]
    assert torch.equal(small(mask=args["mask"], tokens=args["tokens"])["logits"], expected)
    assert torch.equal(small(args["tokens"], args["mask"])["logits"], expected)
    assert torch.equal(small(args["tokens"], args["mask"], scale=None)["logits"], expected)
    with pytest.raises(ArgumentError, match="structure that was traced"):
        small(args["tokens"])
    with pytest.raises(ArgumentError, match=r"must have the shape \(3, 7\), as traced \(any batch size\)"):
        small(args["tokens"], args["mask"][:, :5])


def test_only_the_bad_group_is_locked_where_no_graph_helps() -> None:
    torch.manual_seed(0)
    model = RowByRow().eval()
    graph = proven(trace(model, image()))
    assert graph.form == "class" and "but for 1 locked groups" in graph.form_reason
    assert [g.name for g in graph.prunable] == ["stem.weight", "last.weight"]
    assert "own forward cannot follow: RuntimeError" in graph.group("body.weight").reason
    verify(model, make_plan(graph, model, random_keep(graph, 0, 0.5)), image(5)).require()


def test_a_model_of_one_batch_size_gives_such_a_graph() -> None:
    torch.manual_seed(0)
    model = SingleImage().eval()
    graph = proven(trace(model, image(1)))
    assert graph.form == "graph" and "batches must have the traced size" in graph.form_reason
    small = apply(model, make_plan(graph, model, random_keep(graph, 0, 0.5)))
    with pytest.raises(ArgumentError, match="batch size of the trace"):
        small(image(2))


def test_the_form_can_be_asked_for() -> None:
    model, inputs = CASES["mobile"].model(), CASES["mobile"].inputs()
    graph = proven(trace(model, inputs), form="graph")
    assert graph.form == "graph" and graph.form_reason == "asked for"
    verify(model, make_plan(graph, model, random_keep(graph, 0, 0.5)), inputs).require()
    model, data = stiff("viewed")
    graph = proven(trace(model, data(2)), form="class")
    assert graph.form == "class" and [g.name for g in graph.prunable] == ["stem.weight"]
    with pytest.raises(ArgumentError, match="form must be"):
        proven(graph, form="picture")  # type: ignore[arg-type]


def test_what_the_user_wants_dense_is_not_tried() -> None:
    model, inputs = stiff("viewed")
    graph = proven(trace(model, inputs(2)), narrow=lambda g: g.locked({"body.weight": "excluded"}))
    assert graph.form == "class" and [g.name for g in graph.prunable] == ["stem.weight"]


def test_one_plan_decides_for_its_own_widths() -> None:
    model, inputs = stiff("viewed")
    graph = trace(model, inputs(2))
    assert autoprune.plan(graph, keep={"stem.weight": [0, 1]}).form == "class"
    plan = autoprune.plan(graph, keep={"body.weight": [0, 1]})
    assert plan.form == "graph"
    verify(model, plan, inputs(2)).require()
    assert proven_for(graph, {}) is graph


def test_neither_form_is_an_error_that_says_both(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = RowByRow().eval()
    with pytest.raises(ModelError, match="own class fails.*and so does the rewritten graph.*traced size"):
        autoprune.plan(trace(model, image()), keep={"body.weight": [0, 1]})


def test_zero_initialized_branches_and_constant_inputs_prove_something() -> None:
    model, _ = stiff("asking")
    with torch.no_grad():
        model.get_parameter("head.weight").zero_()
    assert proven(trace(model, torch.zeros(2, 6))).form == "graph"


def test_inputs_that_a_file_cannot_hold_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, _, plan = prepared("viewed")
    bare = plan.model_copy(update={"inputs": None})
    with pytest.raises(ArgumentError, match="example_inputs must be given"):
        apply(model, bare)
    assert torch.equal(apply(model, bare, example_inputs=inputs(2))(inputs(3)), apply(model, plan)(inputs(3)))


def test_a_wrong_plan_is_found_by_apply() -> None:
    model, inputs, _, plan = prepared("viewed")
    costs = {**plan.costs.model_dump(), "found": {"macs": 7, "params": 9}}
    wrong = Plan.model_validate({**plan.model_dump(), "costs": costs})
    with pytest.raises(ModelError, match="MACs instead of 7"):
        apply(model, wrong, example_inputs=inputs(2))
    slices = {**plan.slices, "head.weight": {1: tuple(range(7))}}
    with pytest.raises(PlanError, match="run through other tensors"):
        apply(model, Plan.model_validate({**plan.model_dump(), "slices": slices}))


@pytest.mark.parametrize("name", ["viewed", "split", "counted", "asking", "residual"])
def test_least_squares_and_the_re_fit_work_on_graphs(name: str) -> None:
    """Against the plainly sliced network they must help."""
    model, inputs, graph, plan = prepared(name)
    keep = {n: group.keep for n, group in plan.groups.items()}
    generator = torch.Generator().manual_seed(3)
    data = [torch.randn(inputs(64).shape, generator=generator) for _ in range(3)]
    calibration = calibrate(graph, model, data[:2])
    plain, fitted = apply(model, plan), apply(model, plan, calibration)
    again = copy.deepcopy(fitted)
    refit(model, again, graph, keep, data[:2])
    with torch.no_grad():
        errors = [float((net(data[2]) - model(data[2])).square().mean()) for net in (plain, fitted, again)]
    assert errors[1] < errors[0] and errors[2] < errors[0] and errors[2] != errors[1]


def test_the_re_fit_of_a_graph_is_that_of_the_class() -> None:
    model, inputs = CASES["residual"].model(), CASES["residual"].inputs()
    plain = trace(model, inputs)
    graph = proven(plain, form="graph")
    keep = random_keep(plain, 0, 0.5)
    data = [torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    calibration = calibrate(plain, model, data)
    found = []
    for one in (plain, graph):
        small = apply(model, make_plan(one, model, keep), calibration)
        refit(model, small, one, keep, data)
        state = copy.deepcopy(small.state_dict())
        recalibrate_bn(small, data)
        found.append((small.eval(), state, small.state_dict()))
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0][0](data[0]), found[1][0](data[0]), rtol=1e-4, atol=1e-5)


def evaluator(name: str) -> CandidateEvaluator:
    model, inputs, graph, _ = prepared(name)
    data = [inputs(16)]
    order = {g.name: range(g.size) for g in graph.prunable}
    score = KL(SearchImages(model, data, batch_size=5))
    return CandidateEvaluator(graph, model, calibrate(graph, model, data), order, score, data)


@pytest.mark.parametrize("name", ["residual", "viewed"])
def test_candidates_take_the_form_of_the_graph(name: str) -> None:
    first = evaluator(name)
    graph = prepared(name)[2]
    widths = {g.name: g.size // 2 for g in graph.prunable}
    assert isinstance(first.build(widths), RewrittenModule)
    found = first.evaluate(widths)
    assert found.score < 0 and evaluator(name).evaluate(widths) == found
    assert first.evaluate({}).score == pytest.approx(0, abs=1e-6)


def test_an_evaluator_refuses_batches_that_a_graph_cannot_take() -> None:
    torch.manual_seed(0)
    model = SingleImage().eval()
    graph = proven(trace(model, image(1)))
    order = {g.name: range(g.size) for g in graph.prunable}
    ones = KL(SearchImages(model, [image(3)], batch_size=1))
    assert CandidateEvaluator(graph, model, None, order, ones, None, reconstruct=False).evaluate({})
    both = KL(SearchImages(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), [image(4)], batch_size=2))
    with pytest.raises(ArgumentError, match="batches of 1, got"):
        CandidateEvaluator(graph, model, None, order, both, None, reconstruct=False)


def test_the_decision_costs_a_handful_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CASES["residual"].model()
    graph, count = trace(model, CASES["residual"].inputs()), [0]

    def counting(net: nn.Module, inputs: Any) -> list[Tensor]:
        count[0] += 1
        return outputs(net, inputs)

    monkeypatch.setattr("autoprune.surgery.trial.outputs", counting)
    proven(graph)
    assert count[0] <= 6


def small_data() -> autoprune.DataSplits:
    images, labels = tensors(96, 1)
    train = [(images[i : i + 24], labels[i : i + 24]) for i in range(0, 96, 24)]
    images, labels = tensors(64, 2)
    return autoprune.DataSplits(
        train=train, search_val=[(images[:40], labels[:40]), (images[40:], labels[40:])]
    )


def test_a_search_returns_the_form_that_it_scored(tmp_path: Path) -> None:
    model, inputs = stiff("residual")
    before = {n: t.clone() for n, t in model.state_dict().items()}
    settings: dict[str, Any] = {"agent": "random", "episodes": 3, "calibration_images": 80, "fit_images": 48}
    found = autoprune.search(model, inputs(1), small_data(), "macs=50%", run_dir=tmp_path / "run", **settings)
    assert isinstance(found.model, RewrittenModule) and found.plan.form == "graph"
    assert counted_macs(found.model, inputs(1)) <= found.limits["macs"]
    assert found.found.evaluation.score >= found.best.evaluation.score * (1 + 1e-3)
    images = small_data().search_val[0][0]
    with torch.no_grad():
        assert torch.equal(autoprune.load(tmp_path / "run" / "pruned", model)(images), found.model(images))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    again = autoprune.search(model, inputs(1), small_data(), "macs=50%", **settings)
    assert [e.evaluation for e in again.history] == [e.evaluation for e in found.history]
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, found.model.state_dict()[name])


class Counting(nn.Module):
    """Makes a tensor of its own, on the device of its input, and holds one that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.table = torch.linspace(0, 1, 6)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[0] * 2, device=x.device, dtype=torch.float32).view(-1, 2)
        y = self.up(x + self.table).relu().view(-1, 8)
        return self.head(y) + places.sum(1, keepdim=True) + torch.zeros(x.shape[0], 1, device=x.device)


def test_it_moves_to_another_device_with_all_that_it_makes() -> None:
    torch.manual_seed(0)
    model, x = Counting().eval(), torch.randn(2, 6)
    graph = proven(trace(model, x))
    assert graph.form == "graph" and graph.rewriter is not None and graph.rewriter.any_batch
    small = apply(model, make_plan(graph, model, {"up.weight": [1, 2, 5]}))
    assert small(torch.randn(5, 6)).shape == (5, 3)
    assert small.to("meta")(torch.randn(4, 6, device="meta")).device.type == "meta"


class Auxiliary(nn.Module):
    """A head that only train mode reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3)
        self.head, self.extra = nn.Linear(6, 5), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        scores: Tensor = self.head(F.relu(self.body(x)).mean((2, 3)))
        return scores + self.extra(x.mean((2, 3))) if self.training else scores


def test_what_only_train_mode_reads_stays_whole() -> None:
    torch.manual_seed(0)
    model = Auxiliary().eval()
    graph = proven(trace(model, image()))
    assert graph.form == "class" and [g.name for g in graph.prunable] == ["body.weight"]
    assert "in train mode, RuntimeError" in graph.group("stem.weight").reason
    found = verify(model, make_plan(graph, model, random_keep(graph, 0, 0.5)), image())
    assert found.passed and found.backward


@pytest.mark.parametrize("name", ["residual", "viewed", "split"])
def test_a_graph_can_be_pruned_and_exported_again(name: str) -> None:
    model, inputs, _, plan = prepared(name)
    small = apply(model, plan)
    graph = proven(trace(small, inputs(2)))
    again = make_plan(graph, small, random_keep(graph, 1, 0.5))
    assert graph.form == "graph" and again.costs.dense == plan.costs.found
    verify(small, again, inputs(3)).require()
    shapes = {"args": ({0: torch.export.Dim.DYNAMIC},)}
    program = torch.export.export(small, (inputs(2),), dynamic_shapes=shapes, strict=False)
    torch.testing.assert_close(program.module()(inputs(5)), small(inputs(5)))


class Squared(nn.Module):
    """As many values as the square of the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x).relu().view(len(x), 8)
        return self.head(y) + torch.ones(len(x) * len(x)).sum()


def test_sizes_that_are_no_multiples_of_the_batch_keep_the_graph_to_one_size() -> None:
    torch.manual_seed(0)
    model, x = Squared().eval(), torch.randn(2, 6)
    for graph in (proven(trace(model, x)), proven(trace(model, x), form="graph")):
        assert graph.form == "graph" and graph.rewriter is not None and not graph.rewriter.any_batch
        assert graph.form_reason.endswith("; batches must have the traced size")
        plan = make_plan(graph, model, {"up.weight": [0, 3]})
        verify(model, plan, x).require()
        with pytest.raises(ArgumentError, match="batch size of the trace"):
            apply(model, plan)(torch.randn(3, 6))
