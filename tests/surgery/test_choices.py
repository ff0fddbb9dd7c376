"""What a user may ask for: the form of pruned networks, units of attention, channels of a residual stream."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import autoprune
from autoprune.errors import ArgumentError, ModelError, PlanError
from autoprune.graph.rewritten import RewrittenModule
from autoprune.plan import Plan
from autoprune.surgery import apply, masked, proven, proven_for
from autoprune.surgery.compare import cast, outputs
from autoprune.verify import verify
from tests.surgery.nets import CASES
from tests.surgery.stiff import stiff


class Former(nn.Module):
    """A transformer block whose forward takes all sizes from its tensors, but for the width of a head."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.depth = width // heads
        self.embed, self.head = nn.Linear(6, width), nn.Linear(width, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 20), nn.Linear(20, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norms[0](x)
        q, k, v = (p(y).unflatten(2, (-1, self.depth)).transpose(1, 2) for p in (self.q, self.k, self.v))
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.norms[1](x))))
        return self.head(self.norms[2](x).mean(1))


class FixedFormer(Former):
    """The same, and the width of the stream is written into the forward."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.embed(x).reshape(len(x), -1, 12).sum((1, 2))[:, None]


def former(cls: type[Former] = Former) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = cls().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model, torch.randn(2, 5, 6)


def sizes(graph: Any) -> dict[str, int]:
    return {g.name: g.size for g in graph.prunable}


def test_units_of_attention_are_heads_or_channels_of_heads() -> None:
    model, x = former()
    by_heads = proven(autoprune.trace(model, x))
    assert sizes(by_heads) == {"q.weight": 3, "up.weight": 20} and by_heads.form == "class"
    by_channels = proven(autoprune.trace(model, x, heads=False))
    assert sizes(by_channels) == {"q.weight": 4, "v.weight": 4, "up.weight": 20}
    assert by_channels.form == "graph" and not by_channels.heads, "the class's scale follows the width"
    for graph in (by_heads, by_channels):
        keep = {g.name: list(range(g.size - 2)) for g in graph.prunable}
        plan = autoprune.plan(graph, keep=keep)
        verify(model, plan, x).require()


def test_a_plan_remembers_the_units_of_attention(tmp_path: Path) -> None:
    model, x = former()
    graph = proven(autoprune.trace(model, x, heads=False))
    plan = autoprune.plan(graph, keep={"q.weight": [1, 2], "v.weight": [0]})
    small = apply(model, plan, example_inputs=x)
    autoprune.save(small, plan, tmp_path / "net")
    again = autoprune.load(tmp_path / "net", model)
    assert torch.equal(outputs(small, x)[0], outputs(again, x)[0])
    with masked(model.double(), graph, {"q.weight": [1, 2], "v.weight": [0]}):
        expected = outputs(model, cast(x, torch.float64))[0]
    assert torch.allclose(outputs(small.double(), cast(x, torch.float64))[0], expected, atol=1e-12)


def test_heads_first_and_then_their_channels() -> None:
    model, x = former()
    small = apply(model, autoprune.plan(autoprune.trace(model, x), keep={"q.weight": [0, 2]}))
    graph = proven(autoprune.trace(small, x, heads=False))
    assert sizes(graph) == {"q.weight": 4, "v.weight": 4, "up.weight": 20}
    verify(small, autoprune.plan(graph, keep={"v.weight": [1, 3], "q.weight": [0, 1, 2]}), x).require()


def test_the_residual_stream_stays_whole_unless_asked_for() -> None:
    model, x = former()
    plain = autoprune.trace(model, x)
    assert plain.group("embed.weight").reason.startswith("inexact: layer_norm")
    graph = proven(autoprune.trace(model, x, inexact=True))
    stream = graph.group("embed.weight")
    assert stream.prunable and not stream.exact and graph.form == "class"
    keep = {"embed.weight": [0, 1, 5, 6, 9], "q.weight": [0, 2], "up.weight": list(range(7))}
    plan = autoprune.plan(graph, keep=keep)
    assert plan.inexact == ("embed.weight",) and Plan.from_json(plan.to_json()) == plan
    found = verify(model, plan, x)
    assert found.passed and found.difference < 1e-12 < 1e-3 < found.effect
    small = apply(model, plan, example_inputs=x)
    assert small.get_submodule("norms.0").normalized_shape == (5,)
    with masked(model, graph, keep):
        assert float((outputs(model, x)[0] - outputs(small, x)[0]).abs().max()) > 1e-3
    assert "inexact" not in autoprune.plan(graph, keep={"up.weight": [0]}).to_json()


def test_an_inexact_plan_that_the_class_cannot_follow_becomes_a_graph() -> None:
    model, x = former(FixedFormer)
    graph = proven(autoprune.trace(model, x, inexact=True))
    assert graph.form == "graph" and not graph.group("embed.weight").exact
    plan = autoprune.plan(graph, keep={"embed.weight": [0, 1, 5], "q.weight": [0, 2]})
    assert verify(model, plan, x).passed


def test_negative_control_a_wrong_inexact_plan_is_found() -> None:
    model, x = former()
    graph = proven(autoprune.trace(model, x, inexact=True))
    plan = autoprune.plan(graph, keep={"embed.weight": [0, 1, 5]})
    slices = {name: dict(dims) for name, dims in plan.slices.items()}
    slices["head.weight"] = {1: (0, 1, 6)}
    wrong = plan.model_copy(update={"slices": slices})
    with pytest.raises(PlanError, match="not that of the plan"):
        verify(model, wrong, x)


def test_inexact_names_pruned_groups_only() -> None:
    model, x = former()
    plan = autoprune.plan(autoprune.trace(model, x), keep={"up.weight": [0]})
    text = plan.to_json().replace('"slices"', '"inexact": ["embed.weight"], "slices"', 1)
    with pytest.raises(PlanError, match=r"inexact names the group 'embed\.weight', which loses no units"):
        Plan.from_json(text)


def test_one_plan_takes_the_form_that_is_asked_for() -> None:
    model, inputs = CASES["mobile"].model(), CASES["mobile"].inputs()
    graph = autoprune.trace(model, inputs)
    keep = {"expand.weight": [0, 1]}
    plan = autoprune.plan(graph, keep=keep, form="graph")
    assert plan.form == "graph" and plan.exported is not None and plan.exported.reason == "asked for"
    assert isinstance(apply(model, plan, example_inputs=inputs), RewrittenModule)
    assert autoprune.plan(graph, keep=keep, form="class").form == "class"
    with pytest.raises(ArgumentError, match="form must be 'class', as it was decided for this graph"):
        proven_for(proven(graph), keep, form="graph")
    with pytest.raises(ArgumentError, match="form must be 'auto', 'class' or 'graph'"):
        autoprune.plan(graph, keep=keep, form="onnx")  # type: ignore[arg-type]
    model, data = stiff("viewed")
    with pytest.raises(ModelError, match=r"but its own class fails \(RuntimeError"):
        autoprune.plan(autoprune.trace(model, data(2)), keep={"body.weight": [0, 1]}, form="class")


SMALL: dict[str, Any] = {"agent": "random", "calibration_images": 48, "fit_images": 24, "baselines": ()}


def batches(model: nn.Module, x: Tensor) -> autoprune.DataSplits:
    torch.manual_seed(1)
    rows = [(torch.randn(24, *x.shape[1:]), torch.arange(24) % 4) for _ in range(3)]
    return autoprune.DataSplits(train=rows, search_val=rows[:2])


@pytest.mark.parametrize(
    ("asked", "form", "groups"),
    [
        ({"form": "graph"}, "graph", {"q.weight": 3, "up.weight": 20}),
        ({"heads": False}, "graph", {"q.weight": 4, "v.weight": 4, "up.weight": 20}),
        ({"inexact": True}, "class", {"embed.weight": 12, "q.weight": 3, "up.weight": 20}),
    ],
)
def test_a_search_and_its_continuation(
    asked: dict[str, Any], form: str, groups: dict[str, int], tmp_path: Path
) -> None:
    model, x = former()
    run = tmp_path / "run"
    data = batches(model, x)
    autoprune.search(model, x[:1], data, "params=70%", run_dir=run, episodes=2, **asked, **SMALL)
    found = autoprune.resume(run, model=model, data=data, episodes=3)
    assert len(found.history) == 3 and found.plan.form == form
    assert json.loads((run / "config.json").read_text())["body"]["groups"] == groups
    assert sum(p.numel() for p in found.model.parameters()) <= found.limits["params"]
    loaded = autoprune.load(run / "pruned", model)
    assert torch.equal(outputs(loaded, x)[0], outputs(found.model, x)[0])


def test_an_unknown_form_is_refused_before_the_search() -> None:
    model, x = former()
    with pytest.raises(ArgumentError, match="form: input should be 'auto', 'class' or 'graph', got 'onnx'"):
        autoprune.search(model, x, batches(model, x), "macs=50%", form="onnx")  # type: ignore[arg-type]
