import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.calibration import calibrate
from autoprune.candidate import CandidateEvaluator
from autoprune.criteria import rank
from autoprune.errors import ArgumentError
from autoprune.graph import trace
from autoprune.score import KL, Raced, SearchImages
from autoprune.score.precision import check_precision
from autoprune.surgery import proven
from tests.api.problem import network, tensors

CPU = torch.device("cpu")


class Noted(nn.Module):
    """A linear layer that notes the type of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.types: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        self.types.append(out.dtype)
        return out


def setting(form: str = "class") -> SimpleNamespace:
    """An evaluator of the small network, whose batch norms are folded while candidates are scored."""
    model = network()
    graph = proven(trace(model, torch.zeros(2, 1, 8, 8)), form=form)  # type: ignore[arg-type]
    calibration = calibrate(graph, model, [tensors(96, 1)])
    images = SearchImages(model, [tensors(200, 2)], shuffle=0)
    order = rank(graph, model, "l1", calibration)
    evaluator = CandidateEvaluator(graph, model, calibration, order, KL(images), [tensors(48, 3)])
    return SimpleNamespace(model=model, graph=graph, images=images, evaluator=evaluator)


def test_networks_run_in_the_precision_and_nothing_is_changed() -> None:
    model, candidate = Noted(), Noted()
    images = SearchImages(model, [torch.randn(20, 6)])
    lower = images.at(model, "bfloat16")
    assert (images.precision, lower.precision) == ("float32", "bfloat16")
    assert lower.batches is images.batches
    assert model.types[-2:] == [torch.float32, torch.bfloat16]
    weights = copy.deepcopy(candidate.state_dict())
    plain, rounded = images.measure(candidate)["kl"], lower.measure(candidate)["kl"]
    assert candidate.types == [torch.float32, torch.bfloat16]
    assert all(torch.equal(weights[name], tensor) for name, tensor in candidate.state_dict().items())
    assert plain != rounded and rounded == pytest.approx(plain, rel=0.02)
    assert candidate(torch.randn(1, 6)).dtype == torch.float32


def test_both_sides_of_the_divergence_are_rounded() -> None:
    model = Noted()
    lower = SearchImages(model, [torch.randn(20, 6)]).at(model, "bfloat16")
    assert lower.measure(model) == {"kl": 0.0}


def test_the_values_are_those_of_autocast_by_hand() -> None:
    model, candidate = Noted(), Noted()
    x = torch.randn(20, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        dense, found = model(x).double(), candidate(x).double()
    p, q = ((t / 4).log_softmax(1) for t in (dense, found))
    expected = 16 * (p.exp() * (p - q)).sum(1)
    got = SearchImages(model, [x]).at(model, "bfloat16").by_image(candidate)["kl"]
    torch.testing.assert_close(got, expected.clamp(min=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["class", "graph"])
def test_with_folded_batch_norms_in_either_form(form: str) -> None:
    s = setting(form)
    lower = KL(s.images.at(s.model, "bfloat16"))
    raced = Raced(lower)
    uniform = {g.name: max(1, g.size * 3 // 4) for g in s.graph.prunable}
    assert s.evaluator.evaluate(uniform, score=raced.refer_to).metrics["images"] == 200
    for share in (0.75, 0.5, 0.25):
        widths = {g.name: max(1, int(share * g.size)) for g in s.graph.prunable}
        plain = s.evaluator.evaluate(widths).score
        rounded = s.evaluator.evaluate(widths, score=lower)
        assert rounded.score != plain and rounded.score == pytest.approx(plain, rel=0.03)
        assert rounded == s.evaluator.evaluate(widths, score=lower)
        found = s.evaluator.evaluate(widths, score=raced)
        if found.metrics["images"] == 200:
            assert found.score == pytest.approx(rounded.score, rel=1e-3)
        assert s.evaluator.evaluate(widths).score == plain


def test_another_score_is_not_remembered() -> None:
    s = setting()
    widths = {g.name: max(1, g.size // 2) for g in s.graph.prunable}
    lower = KL(s.images.at(s.model, "bfloat16"))
    first = s.evaluator.evaluate(widths, score=lower)
    assert s.evaluator.evaluate(widths) != first
    assert s.evaluator.evaluate(widths, score=lower) == first
    assert s.evaluator.evaluate(widths) == s.evaluator.evaluate(widths, remembered=False)


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("float16", r"float32 or bfloat16 on the device cpu, got 'float16'"),
        ("int8", r"one of float32, bfloat16, float16, got 'int8'"),
    ],
)
def test_what_the_device_lacks_is_refused(precision: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        check_precision(precision, CPU)
    with pytest.raises(ArgumentError, match=words):
        SearchImages(Noted(), [torch.randn(4, 6)]).at(Noted(), precision)
    check_precision("float16", torch.device("cuda"))


def test_a_network_that_cannot_run_so_is_refused() -> None:
    class Mixed(Noted):
        def forward(self, x: Tensor) -> Tensor:
            if super().forward(x).dtype != torch.float32:
                raise RuntimeError("expected float32")
            return self.layer(x)  # type: ignore[no-any-return]

    model = Mixed()
    with pytest.raises(ArgumentError, match="precision must be float32 for this network.*expected float32"):
        SearchImages(model, [torch.randn(4, 6)]).at(model, "bfloat16")

    class Huge(Noted):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return out if out.dtype == torch.float32 else out / 0

    with pytest.raises(ArgumentError, match="not finite in 'bfloat16'"):
        SearchImages(Huge(), [torch.randn(4, 6)]).at(Huge(), "bfloat16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_on_a_gpu(precision: str) -> None:
    model: Any = network().cuda()
    images = SearchImages(model, [(x.cuda(), y.cuda()) for x, y in [tensors(200, 2)]], shuffle=0)
    candidate = copy.deepcopy(model)
    with torch.no_grad():
        candidate.conv2.weight.mul_(0.5)
    rounded = images.at(model, precision).measure(candidate)["kl"]
    assert rounded == pytest.approx(images.measure(candidate)["kl"], rel=0.05)
