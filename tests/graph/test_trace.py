"""How a trace treats its inputs, its errors and what it does not know."""

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.errors import ArgumentError, TraceError
from autoprune.graph import Call, Tracer, Value, pointwise, register_rule, registry, trace
from tests.graph.nets import Lambda, conv_bn, image, tokens


@torch.library.custom_op("autoprune_tests::swap", mutates_args=())
def swap(x: Tensor) -> Tensor:
    return x * x.sigmoid()


@swap.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def chain(op: Callable[[Tensor], Any]) -> Lambda:
    return Lambda(lambda m, x: m.b(op(m.a(x))), a=nn.Linear(12, 8), b=nn.Linear(8, 3))


@pytest.fixture
def rules() -> Iterator[None]:
    """Forget what a test registers."""
    known = dict(registry._RULES)
    yield
    registry._RULES.clear()
    registry._RULES.update(known)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(conv_bn(3, 6), nn.Dropout(), nn.Flatten(), nn.Linear(384, 2))
    model.train()
    model[0][1].eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    trace(model, image())
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_mode_is_restored_after_a_failure() -> None:
    model = conv_bn(3, 6).train()
    with pytest.raises(TraceError):
        trace(model, image(4))
    assert all(module.training for module in model.modules())


def test_global_random_state_is_not_touched() -> None:
    model, inputs = conv_bn(3, 6), image()
    state = torch.get_rng_state()
    trace(model, inputs)
    assert torch.equal(torch.get_rng_state(), state)


def test_traces_are_deterministic() -> None:
    model = nn.Sequential(conv_bn(3, 6), conv_bn(6, 8))
    a, b = trace(model, image()), trace(model, image())
    assert [(g.name, g.size, g.reason) for g in a.groups] == [(g.name, g.size, g.reason) for g in b.groups]
    assert a.mac_terms == b.mac_terms and a.layers == b.layers


def test_wrong_inputs_show_the_models_own_message() -> None:
    with pytest.raises(
        TraceError, match=r"forward fails on example_inputs \(float32\[2, 4, 8, 8\]\).*to have 3 channels"
    ):
        trace(conv_bn(3, 6), image(4))
    with pytest.raises(TraceError, match="missing 1 required positional argument"):
        trace(Lambda(lambda m, x, y: x), (image(),))


@pytest.mark.parametrize("inputs", [3, None, "x"])
def test_inputs_of_another_type(inputs: Any) -> None:
    with pytest.raises(ArgumentError, match="example_inputs must be a tensor, a tuple"):
        trace(conv_bn(3, 6), inputs)


def test_models_of_another_type() -> None:
    with pytest.raises(ArgumentError, match=r"model must be a torch\.nn\.Module, got function"):
        trace(lambda x: x, image())


def test_a_model_that_export_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    model = Lambda(lambda m, x: m.a(x) if x.sum() > 0 else m.a(-x), a=nn.Conv2d(3, 4, 1))
    with pytest.raises(
        TraceError, match=r"torch\.export refuses the model; try: .*it says: .*data-dependent"
    ):
        trace(model, image())
    assert "Traceback" not in capfd.readouterr().err


def test_wrappers_are_taken_off() -> None:
    model = nn.Sequential(conv_bn(3, 6), nn.Conv2d(6, 2, 1))
    expected = [g.name for g in trace(model, image()).groups]
    assert [g.name for g in trace(nn.DataParallel(model), image()).groups] == expected
    assert [g.name for g in trace(torch.compile(model, backend="eager"), image()).groups] == expected


def test_positional_keyword_and_nested_inputs() -> None:
    def forward(m: Any, pair: Any, scale: float = 1.0, *, mask: Any = None) -> Tensor:
        return m.a(pair["left"] * scale) + m.b(pair["right"]) * mask

    model = Lambda(forward, a=nn.Linear(12, 4), b=nn.Linear(12, 4))
    inputs = {"pair": {"left": tokens(), "right": tokens()}, "mask": torch.ones(4)}
    assert [layer.weight for layer in trace(model, inputs).layers] == ["a.weight", "b.weight"]
    assert trace(model, inputs).macs() == 2 * 2 * 5 * 12 * 4


def test_frozen_and_low_precision_parameters() -> None:
    model = (
        nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).to(torch.bfloat16).requires_grad_(False)
    )
    assert [(g.name, g.size) for g in trace(model, tokens().bfloat16()).prunable] == [("0.weight", 8)]


def test_no_warning_escapes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(nn.Sequential(conv_bn(3, 6), nn.Conv2d(6, 2, 1)), image())


def test_an_unknown_op_locks_with_its_name() -> None:
    group = trace(chain(swap), tokens()).group("a.weight")
    assert group.reason == "no rule for the op autoprune_tests::swap"


def test_a_rule_for_an_own_op(rules: None) -> None:
    register_rule("autoprune_tests::swap", pointwise)
    assert [g.name for g in trace(chain(swap), tokens()).prunable] == ["a.weight"]


def test_a_rule_may_lock_what_it_wants(rules: None) -> None:
    def never(tracer: Tracer, call: Call) -> Value:
        tracer.lock(call.input, "because")
        return call.output

    register_rule(torch.ops.autoprune_tests.swap, never)
    assert trace(chain(swap), tokens()).group("a.weight").reason == "because"
    register_rule(torch.ops.autoprune_tests.swap.default, lambda tracer, call: NotImplemented)
    assert "no rule" in trace(chain(swap), tokens()).group("a.weight").reason


def test_a_rule_that_fails_locks(rules: None, caplog: pytest.LogCaptureFixture) -> None:
    def broken(tracer: Tracer, call: Call) -> Value:
        tracer.cost("", 5)
        raise KeyError("oops")

    register_rule("autoprune_tests::swap", broken)
    graph = trace(chain(swap), tokens())
    assert (
        graph.group("a.weight").reason == "the rule for the op autoprune_tests::swap failed: KeyError: 'oops'"
    )
    assert "failed at swap" in caplog.text
    assert graph.macs() == 2 * 5 * (12 * 8 + 8 * 3)


def test_lazy_models_are_refused() -> None:
    with pytest.raises(ArgumentError, match="lazy parameters; run one forward pass first"):
        trace(nn.Sequential(nn.LazyLinear(3)), tokens())


@pytest.mark.parametrize(("op", "function"), [("relu", pointwise), (7, pointwise), ("aten::relu", None)])
def test_bad_rules(op: Any, function: Any, rules: None) -> None:
    with pytest.raises(ArgumentError):
        register_rule(op, function)


def test_rules_are_for_ops_that_exist() -> None:
    for name, rule in registry.table().items():
        namespace, op = name.split("::")
        if namespace == "python":  # a step that the trace puts in itself
            continue
        assert hasattr(getattr(torch.ops, namespace), op), name
        assert rule.__doc__


# What must never be pruned although each op by itself has a rule; the reason has to say so.
TRAPS = {
    "mean over channels": (lambda y: y.mean(-1, keepdim=True) + y, "aten::mean over these channels"),
    "softmax over channels": (lambda y: y.softmax(-1), "aten::softmax over these channels"),
    "sum of what is not zero": (lambda y: y.sigmoid().sum(-1, keepdim=True) * y, "not zero there"),
    "product of what is not zero": (
        lambda y: y * (y.sigmoid() @ y.sigmoid().transpose(-1, -2)).sum(-1, keepdim=True),
        "not zero there",
    ),
    "division by removed units": (lambda y: 1 / y, "not finite at removed units"),
    "logarithm of removed units": (lambda y: y.abs().log(), "not finite at removed units"),
    "full-size constant": (lambda y: y + torch.arange(8.0), "combined element by element with"),
    "full-size result": (
        lambda y: y * torch.ones_like(y[..., :1]).expand(2, 5, 8),
        "combined element by element",
    ),
    "gather": (lambda y: y[..., torch.tensor([0, 1, 2, 3, 4, 5, 6, 7])], "looked up by index"),
    "mask": (lambda y: torch.where(torch.arange(8) > 3, y, y * 2), "combined element by element with"),
    "roll": (lambda y: y.roll(1, -1), "shifted by a constant"),
    "one channel": (lambda y: y * y[..., 3:4], "cut at a constant index"),
    "selected channel": (lambda y: y * y[..., 3, None], "cut at a constant index"),
    "reversed halves": (lambda y: torch.cat([y[..., 4:], y[..., :4]], -1), "cut at a constant index"),
    "cumulative": (lambda y: y.cumprod(-1), "aten::cumprod over these channels"),
    "written in place": (lambda y: y.clone().index_fill_(-1, torch.tensor([1]), 0.0), "no rule for the op"),
    "layer norm": (lambda y: F.layer_norm(y, (8,)), "inexact: layer_norm normalizes over these channels"),
    "rms norm": (lambda y: F.rms_norm(y, (8,)), "inexact: rms_norm normalizes over these channels"),
    "variance": (lambda y: y - y.var(-1, keepdim=True), "aten::var over these channels"),
    "windows": (lambda y: y.unfold(-1, 2, 2).sum(-1).repeat(1, 1, 2), "cut into windows"),
    "convolution over channels": (
        lambda y: y * F.conv1d(y.flatten(0, 1)[:, None], torch.ones(1, 1, 3), padding=1).view(2, 5, 8),
        "runs over this dimension",
    ),
    "padding": (lambda y: F.pad(y, (1, -1)), "padded with a constant"),
    "zeros written over": (lambda y: torch.zeros(2, 5, 8).copy_(y), "combined element by element"),
    "aliased zeros": (lambda y: _aliased(y), "not zero there"),
}  # fmt: skip


def _aliased(y: Tensor) -> Tensor:
    """The sum sees what an in-place op on a view of the same memory has written."""
    z = y * 1.0
    z.view(10, 8).sigmoid_()
    return y * z.sum(-1, keepdim=True)


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_locked(name: str) -> None:
    op, reason = TRAPS[name]
    group = trace(chain(op), tokens()).group("a.weight")
    assert reason in group.reason


# The same ops where they do leave units independent.
FREE = {
    "sum of zeros": lambda y: y.relu().sum(-1, keepdim=True) + y,
    "norm": lambda y: y / (1 + y.norm(dim=-1, keepdim=True)),
    "mean over others": lambda y: y - y.mean(1, keepdim=True),
    "softmax over others": lambda y: y.softmax(1) * y,
    "halves multiplied": lambda y: torch.cat([t * 2 for t in y.chunk(2, -1)], -1),
    "repeated": lambda y: y.repeat(1, 2, 1)[:, :5],
    "flipped twice": lambda y: y.flip(-1).flip(-1),
    "moved": lambda y: y.movedim(-1, 0).swapaxes(0, 1).permute(0, 2, 1),
    "product of zeros": lambda y: y * (y @ y.sigmoid().transpose(-1, -2)).sum(-1, keepdim=True),
    "outer and inner": lambda y: (y[..., None] * y[..., None, :]).sum(-1),
    "expanded": lambda y: y * y.mean(1, keepdim=True).expand_as(y),
    "shape only": lambda y: y + y.new_zeros(1),
    "in place": lambda y: y.clone().add_(1).mul_(2).relu_(),
    "dead end": lambda y: (y.softmax(1).mean(-1), y)[1],
}


@pytest.mark.parametrize("name", FREE)
def test_ops_that_leave_units_free(name: str) -> None:
    graph = trace(chain(FREE[name]), tokens())
    assert graph.group("a.weight").prunable, graph.group("a.weight").reason


def test_a_non_persistent_buffer_is_no_partner() -> None:
    model = chain(lambda y: y)
    model.run = lambda m, x: m.b(m.a(x) + m.shift)
    model.register_buffer("shift", torch.ones(8), persistent=False)
    assert "a constant of the model" in trace(model, tokens()).group("a.weight").reason


def test_tracing_time_is_linear() -> None:
    """Four times the layers take about four times as long; export is included, so the bound is coarse."""

    def seconds(depth: int) -> float:
        model = nn.Sequential(conv_bn(3, 16), *(conv_bn(16, 16) for _ in range(depth)), nn.Conv2d(16, 2, 1))
        start = time.process_time()
        assert len(trace(model, image()).prunable) == depth + 1
        return time.process_time() - start

    seconds(5)
    short, long = seconds(30), seconds(120)
    assert long < 10 * short + 2
