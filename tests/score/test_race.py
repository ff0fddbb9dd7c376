import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.data import Batch
from autoprune.errors import ArgumentError
from autoprune.score import KL, WORST, Accuracy, Evaluation, Raced, Score, SearchImages
from autoprune.score.images import TEMPERATURE
from autoprune.score.looks import critical

CLASSES = 5
COUNT = 300


class Table(nn.Module):
    """Looks its outputs up: input i gives row i; counts the images that it ran on."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.ran: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.ran.append(len(x))
        return self.rows[x.long().flatten()]


def images(dense: Tensor, **settings: Any) -> SearchImages:
    numbers = torch.arange(len(dense)).float()[:, None]
    return SearchImages(Table(dense), [(numbers, dense.argmax(1))], **settings)


def around(dense: Tensor, noise: float) -> Table:
    return Table(dense + noise * torch.randn_like(dense))


def by_hand(dense: Tensor, found: Tensor) -> list[float]:
    """T^2 KL(dense || found) of every image, in Python floats."""
    values = []
    for row, other in zip(dense.tolist(), found.tolist(), strict=True):
        p, q = ([math.exp(v / TEMPERATURE) for v in r] for r in (row, other))
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        values.append(TEMPERATURE**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return values


def slow_race(reference: list[float], found: list[float], looks: tuple[int, ...], level: float) -> int:
    """How many images a candidate is scored on; the values are divergences, in the order of the race."""
    for look in looks:
        lost = [b - a for a, b in zip(reference[:look], found[:look], strict=True)]
        mean = sum(lost) / look
        error = math.sqrt(sum((d - mean) ** 2 for d in lost) / (look - 1) / look)
        if mean > critical(level / len(looks), look - 1) * error:
            return look
    return len(found)


def race(dense: Tensor, reference: nn.Module, kind: type[Score] = KL, **settings: Any) -> Raced:
    raced = Raced(kind(images(dense, shuffle=7, batch_size=100)), **settings)
    raced.refer_to(reference)
    return raced


def test_every_image_by_hand() -> None:
    dense = torch.randn(40, CLASSES) * 2
    found = around(dense, 1.0)
    data = images(dense, batch_size=16)
    whole = data.by_image(found)
    assert whole["kl"].tolist() == pytest.approx(by_hand(dense, found.rows), rel=1e-5, abs=1e-7)
    assert {name: float(values.mean()) for name, values in whole.items()} == data.measure(found)
    for start, end in ((0, 13), (13, 30), (16, 32), (39, 40)):
        part = data.by_image(found, start, end)
        assert all(torch.equal(part[name], whole[name][start:end]) for name in whole)
    assert [batch.size for batch in data.batches] == [13, 13, 14]


def test_the_order_is_random_and_seeded() -> None:
    dense = torch.randn(COUNT, CLASSES)
    found = around(dense, 1.0)
    values = images(dense).by_image(found)["kl"]
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    shuffled = images(dense, shuffle=3)
    assert torch.equal(shuffled.by_image(found)["kl"], values[order])
    assert torch.equal(torch.cat([b.inputs[:, 0] for b in shuffled.batches]).long(), order)  # type: ignore[call-overload]
    assert not torch.equal(images(dense, shuffle=4).by_image(found)["kl"], values[order])
    assert shuffled.measure(found) == pytest.approx(images(dense).measure(found), rel=1e-12)
    assert images(dense).measure(found) == images(dense, shuffle=None).measure(found)


def test_images_of_several_inputs_are_shuffled_together() -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    x, y, labels = torch.randn(90, 3), torch.randn(90, 3), torch.arange(90) % 3
    data = SearchImages(Sum(), [(x, y, labels)], shuffle=1)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    (batch,) = data.batches
    assert isinstance(batch.inputs, tuple)
    assert torch.equal(batch.inputs[0], x[order]) and torch.equal(batch.inputs[1], y[order])
    assert batch.labels is not None and torch.equal(batch.labels, labels[order])
    assert data.measure(Sum())["kl"] == 0


@pytest.mark.parametrize("noise", [0.8, 1.0, 1.1, 1.2, 1.4, 2.0, 8.0])
def test_a_race_equals_a_slow_one(noise: float) -> None:
    dense = torch.randn(COUNT, CLASSES) * 2
    reference, found = around(dense, 1.0), around(dense, noise)
    raced = race(dense, reference)
    assert raced.looks == (64, 100, 256)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(7))
    before, after = (by_hand(dense[order], t.rows[order]) for t in (reference, found))
    count = slow_race(before, after, raced.looks, 0.001)
    found.ran.clear()
    evaluation = raced(found)
    assert sum(found.ran) == count == evaluation.metrics["images"]
    if count == COUNT:
        assert evaluation.score == pytest.approx(-sum(after) / COUNT, rel=1e-5)
        return
    whole = sum(before) / COUNT
    expected = -whole - sum(b - a for a, b in zip(before[:count], after[:count], strict=True)) / count
    assert evaluation.score == pytest.approx(expected, rel=1e-5)
    assert evaluation.score == -evaluation.metrics["kl"] < -whole
    assert evaluation.score > KL.worst


def test_both_ends_of_the_table_were_met() -> None:
    dense = torch.randn(COUNT, CLASSES) * 2
    raced = race(dense, around(dense, 1.0))
    assert raced(around(dense, 0.5)).metrics["images"] == COUNT
    assert raced(around(dense, 8.0)).metrics["images"] == 64


def test_accuracy_is_raced_by_what_is_right() -> None:
    dense = torch.randn(COUNT, CLASSES)
    raced = race(dense, around(dense, 0.1), Accuracy)
    wrong = raced(Table(-dense))
    assert wrong.metrics["images"] == 64 and wrong.score == wrong.metrics["accuracy"] < 0.1
    right = raced(Table(dense))
    assert right == Evaluation(1.0, right.metrics) and right.metrics["images"] == COUNT
    assert wrong.metrics["accuracy"] >= 0 and wrong.metrics["kl"] > right.metrics["kl"]


def test_outputs_that_are_not_finite_end_the_race_within_the_bounds() -> None:
    dense = torch.randn(COUNT, CLASSES)
    raced = race(dense, around(dense, 1.0))
    nothing = raced(Table(torch.full_like(dense, float("nan"))))
    assert nothing.metrics["images"] == 64
    assert KL.worst <= nothing.score < -0.9 * WORST and nothing.metrics["loss"] <= WORST
    assert 0 <= nothing.metrics["accuracy"] <= 1


def test_the_reference_and_what_is_better_are_scored_in_full() -> None:
    dense = torch.randn(COUNT, CLASSES)
    reference = around(dense, 1.0)
    data = images(dense, shuffle=7, batch_size=100)
    raced = Raced(KL(data))
    scored = raced.refer_to(reference)
    assert scored == raced(reference)
    assert scored.metrics == data.measure(reference) | {"images": COUNT}
    assert raced(Table(dense)) == Evaluation(0.0, data.measure(Table(dense)) | {"images": COUNT})


def test_the_value_depends_on_the_candidate_alone() -> None:
    dense = torch.randn(COUNT, CLASSES)
    raced = race(dense, around(dense, 1.0))
    candidates = [around(dense, 0.2 * number) for number in range(12)]
    forth = [raced(candidate) for candidate in candidates]
    back = [raced(candidate) for candidate in reversed(candidates)]
    assert forth == back[::-1]
    assert len({evaluation.metrics["images"] for evaluation in forth}) > 1


def test_few_images_are_not_raced() -> None:
    dense = torch.randn(64, CLASSES)
    raced = race(dense, Table(dense))
    bad = around(dense, 9.0)
    assert raced.looks == () and raced(bad).score == KL(images(dense, shuffle=7, batch_size=100))(bad).score


def test_what_cannot_be_raced_is_refused() -> None:
    data = images(torch.randn(200, CLASSES))
    with pytest.raises(ArgumentError, match="refer_to must be called"):
        Raced(KL(data))(Table(torch.randn(200, CLASSES)))
    for level in (0, 0.5, -1, 2):
        with pytest.raises(ArgumentError, match=f"level must lie in \\(0, 0.5\\), got {level}"):
            Raced(KL(data), level=level)


class Draws:
    """Search images on which candidate i has the divergences of row i."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.count = rows, rows.shape[1]
        self.batches = [Batch(torch.zeros(128), None)] * (self.count // 128)

    def by_image(self, candidate: Any, start: int = 0, end: int | None = None) -> dict[str, Tensor]:
        return {"kl": self.rows[candidate, start:end]}


def stopped(rows: Tensor, level: float) -> list[bool]:
    """Whether candidates are stopped; the first row is the reference."""
    data: Any = Draws(rows)
    raced = Raced(KL(data), level=level)
    first: Any = 0
    raced.refer_to(first)
    numbers: list[Any] = list(range(1, len(rows)))
    return [raced(number).metrics["images"] < data.count for number in numbers]


@pytest.mark.parametrize("kind", ["normal", "exponential", "heavy"])
@pytest.mark.parametrize("level", [0.1, 0.02])
def test_as_good_as_the_reference_is_stopped_at_most_at_the_stated_rate(kind: str, level: float) -> None:
    """Divergences share what an image makes hard, and differ by noise of one distribution."""
    draws, count = 3000, 512
    shape = (2 * draws, count)
    noise = {
        "normal": lambda: torch.randn(shape, dtype=torch.float64),
        "exponential": lambda: torch.empty(shape, dtype=torch.float64).exponential_(),
        "heavy": lambda: torch.distributions.StudentT(4.0).sample(torch.Size(shape)).double(),
    }[kind]()
    pairs = (noise + 3 * torch.randn(count, dtype=torch.float64).abs()).view(draws, 2, count)
    rate = sum(stopped(pair, level)[0] for pair in pairs) / draws
    assert rate <= level + 2.5 * math.sqrt(level * (1 - level) / draws)
    assert rate > level / 4  # and the test is no empty one


def test_what_is_clearly_worse_is_stopped() -> None:
    reference = torch.empty(512, dtype=torch.float64).exponential_()
    worse = reference + 0.6 + torch.randn(200, 512, dtype=torch.float64)
    assert all(stopped(torch.cat([reference[None], worse]), 0.001))
    better = reference - 0.1 + torch.randn(200, 512, dtype=torch.float64)
    assert not any(stopped(torch.cat([reference[None], better]), 0.001))
