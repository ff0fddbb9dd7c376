import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.errors import ArgumentError, DataError, ModelError
from autoprune.score import KL, WORST, Accuracy, Evaluation, SearchImages
from autoprune.score.images import TEMPERATURE

CLASSES = 5


class Table(nn.Module):
    """Looks its outputs up: input i gives row i."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows[x.long().flatten()]


def images(dense: nn.Module, count: int, labels: Tensor | None = None, **settings: Any) -> SearchImages:
    numbers = torch.arange(count).float()[:, None]
    return SearchImages(dense, [numbers if labels is None else (numbers, labels)], **settings)


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def reference(dense: Tensor, found: Tensor, labels: Tensor, temperature: float) -> dict[str, float]:
    """Plain loops over images and classes, in Python floats."""
    kl = loss = right = 0.0
    for row, other, label in zip(dense.tolist(), found.tolist(), labels.tolist(), strict=True):
        p, q = softmax(row, temperature), softmax(other, temperature)
        kl += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        loss -= math.log(softmax(other)[label])
        right += max(range(len(q)), key=lambda c: q[c]) == label
    return {"kl": kl / len(dense), "accuracy": right / len(dense), "loss": loss / len(dense)}


@pytest.mark.parametrize("temperature", [None, 1.0, 4.0, 20.0])
def test_metrics_equal_a_plain_formula(temperature: float | None) -> None:
    dense, found = torch.randn(2, 40, CLASSES) * 2
    labels = torch.randint(CLASSES, (40,))
    expected = reference(dense, found, labels, temperature or TEMPERATURE)
    settings = {} if temperature is None else {"temperature": temperature}
    measured = images(Table(dense), 40, labels, **settings).measure(Table(found))
    assert measured == pytest.approx(expected, rel=1e-6)
    assert measured["loss"] == pytest.approx(float(F.cross_entropy(found, labels)), rel=1e-5)
    measured = images(Table(dense), 40, labels, temperature=1).measure(Table(found))
    target = F.kl_div(found.log_softmax(1), dense.log_softmax(1), log_target=True, reduction="batchmean")
    assert measured["kl"] == pytest.approx(float(target), rel=1e-5)


def test_scores_read_the_metrics() -> None:
    dense, found = torch.randn(2, 40, CLASSES)
    labels = torch.randint(CLASSES, (40,))
    data = images(Table(dense), 40, labels)
    metrics = data.measure(Table(found))
    assert KL(data)(Table(found)) == Evaluation(-metrics["kl"], metrics)
    assert Accuracy(data)(Table(found)) == Evaluation(metrics["accuracy"], metrics)


def test_the_dense_network_itself_scores_best() -> None:
    dense = Table(torch.randn(40, CLASSES))
    assert KL(images(dense, 40))(dense) == Evaluation(0.0, {"kl": 0.0})
    shifted = Table(dense.rows.detach() + 3)
    assert KL(images(dense, 40))(shifted).score == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_the_batch_size_changes_nothing(size: int) -> None:
    dense, found = torch.randn(2, 40, CLASSES)
    data = images(Table(dense), 40, batch_size=size)
    assert data.count == 40 and len(data.batches) == math.ceil(40 / size)
    assert data.measure(Table(found)) == images(Table(dense), 40).measure(Table(found))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_image_with_outputs_that_are_not_finite_counts_as_the_worst(bad: float) -> None:
    dense = torch.randn(4, CLASSES)
    labels = dense.argmax(1)
    found = dense.clone()
    found[1, int(labels[1])] = bad
    measured = images(Table(dense), 4, labels).measure(Table(found))
    assert measured["kl"] == pytest.approx(WORST / 4, rel=1e-6)
    assert measured["accuracy"] == 0.75
    own = float(F.cross_entropy(dense[[0, 2, 3]], labels[[0, 2, 3]], reduction="sum"))
    assert measured["loss"] == pytest.approx((own + WORST) / 4, rel=1e-6)


def test_all_nan_gives_the_documented_worst_score() -> None:
    dense = torch.randn(4, CLASSES)
    data = images(Table(dense), 4, dense.argmax(1))
    nothing = Table(torch.full_like(dense, float("nan")))
    assert KL(data)(nothing).score == KL.worst == -100.0
    assert Accuracy(data)(nothing).score == Accuracy.worst == 0.0


def test_outputs_that_are_far_off_are_bounded_too() -> None:
    dense = Table(torch.tensor([[0.0, 1e30]]))
    far = Table(torch.tensor([[1e30, 0.0]]))
    assert KL(images(dense, 1))(far).score == -100.0


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.tensor([0, 1, 5]), r"0\.\.4, the classes of the model, got 5"),
        (torch.tensor([0, -1, 4]), r"0\.\.4, the classes of the model, got -1"),
        (torch.tensor([0.0, 1.0, 2.0]), "class indices"),
        (torch.zeros(3, CLASSES, dtype=torch.int64), "class indices"),
    ],
)
def test_bad_labels_are_refused(labels: Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        images(Table(torch.randn(3, CLASSES)), 3, labels)


def test_a_dense_network_that_is_not_finite_is_refused() -> None:
    rows = torch.randn(3, CLASSES)
    rows[1, 2] = float("nan")
    with pytest.raises(ModelError, match="its tensor 'rows' is not finite"):
        images(Table(rows), 3)

    class Overflow(Table):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 0

    with pytest.raises(ModelError, match="check the images"):
        images(Overflow(torch.randn(3, CLASSES)), 3)


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "must not be empty"),
        ([torch.zeros(0, 1)], "must not be empty"),
        ([torch.zeros(2, 1), (torch.zeros(2, 1), torch.zeros(2).long())], "labels or none"),
        ([torch.zeros(2, 1), torch.zeros(2, 2)], "one shape"),
        (["text"], "must be a tensor"),
    ],
)
def test_bad_batches_are_refused(batches: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        SearchImages(Table(torch.randn(3, CLASSES)), batches)


def test_accuracy_needs_labels_and_kl_does_not() -> None:
    data = images(Table(torch.randn(3, CLASSES)), 3)
    assert KL(data).images is data
    with pytest.raises(DataError, match="needs labels"):
        Accuracy(data)


def test_outputs_of_another_shape_are_refused() -> None:
    data = images(Table(torch.randn(3, CLASSES)), 3)
    with pytest.raises(ModelError, match=r"shape \(3, 5\), got \(3, 4\)"):
        data.measure(Table(torch.randn(3, 4)))
    with pytest.raises(ModelError, match=r"\(N, classes\)"):
        images(Table(torch.randn(3, CLASSES, 2)), 3)
    with pytest.raises(ArgumentError, match="batch_size must be at least 1, got 0"):
        images(Table(torch.randn(3, CLASSES)), 3, batch_size=0)
    with pytest.raises(ArgumentError, match="temperature must be above 0, got 0"):
        images(Table(torch.randn(3, CLASSES)), 3, temperature=0)


class Wrapped(nn.Module):
    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.table, self.wrap = Table(torch.randn(3, CLASSES)), wrap

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Any:
        return self.wrap(self.table(x) if shift is None else self.table(x) + shift)


class Output:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    "wrap", [lambda t: t, Output, lambda t: {"logits": t}, lambda t: (t, None), lambda t: [t]]
)
def test_class_scores_are_found_in_common_kinds_of_outputs(wrap: Any) -> None:
    model = Wrapped(wrap)
    assert images(model, 3).measure(model) == {"kl": 0.0}


def test_other_outputs_need_a_function() -> None:
    model = Wrapped(lambda t: {"scores": t})
    with pytest.raises(ModelError, match="as `logits`"):
        images(model, 3)
    assert images(model, 3, logits=lambda out: out["scores"]).measure(model) == {"kl": 0.0}


def test_several_inputs() -> None:
    model, x, shift = Wrapped(Output), torch.arange(3.0)[:, None], torch.randn(3, CLASSES)
    labels = torch.zeros(3).long()
    expected = SearchImages(model, [(x, shift, labels)]).measure(model)
    assert SearchImages(model, [{"x": x, "shift": shift, "labels": labels}]).measure(model) == expected


def test_the_dense_network_keeps_its_mode_and_needs_no_eval() -> None:
    model = nn.Sequential(nn.Linear(3, CLASSES), nn.Dropout(0.5), nn.BatchNorm1d(CLASSES))
    model[2].eval()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    data = SearchImages(model, [torch.randn(8, 3)])
    assert [m.training for m in model] == [True, True, False]
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())
    assert data.measure(model.eval()) == {"kl": 0.0}
