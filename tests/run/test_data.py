import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from autoprune.data import DataSplits, FirstImages, Splits, as_batch, read
from autoprune.errors import ArgumentError, DataError

X = torch.arange(24.0).reshape(6, 4)
Y = torch.arange(6)


@pytest.mark.parametrize(
    ("raw", "inputs", "labels"),
    [
        (X, X, None),
        ((X,), X, None),
        ([X], X, None),
        ((X, Y), X, Y),
        ([X, Y], X, Y),
        ((X, Y.tolist()), X, Y),
        ((X, -X, Y), (X, -X), Y),
        ({"pixel_values": X, "labels": Y}, X, Y),
        ({"image": X, "label": Y}, X, Y),
        ({"image": X}, X, None),
        ({"a": X, "mask": -X, "targets": Y}, {"a": X, "mask": -X}, Y),
    ],
)
def test_forms_of_a_batch(raw: Any, inputs: Any, labels: Any) -> None:
    batch = as_batch(raw)
    torch.testing.assert_close(batch.inputs, inputs)
    torch.testing.assert_close(batch.labels, labels)
    assert batch.size == 6
    cut = batch.first(2)
    assert cut.size == 2 and (labels is None or torch.equal(cut.labels, labels[:2]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("text", "must be a tensor.*got str"),
        ((), "got tuple"),
        ({"labels": Y}, "must be a tensor"),
        ((X, Y[:3]), r"as many labels as inputs, got lengths \[3, 6\]"),
        (torch.tensor(1.0), "must be a tensor"),
        ((X.clone().fill_(float("nan")), Y), "finite inputs, got NaN"),
        ({"a": X / 0}, "finite inputs"),
    ],
)
def test_other_forms_are_refused(raw: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_batch(raw)


def images(loader: Any, count: int, seed: int = 0) -> torch.Tensor:
    parts = [b.inputs for b in FirstImages(loader, count, seed=seed, name="data.train")]
    return torch.cat(parts)  # type: ignore[arg-type]


class Noisy(Dataset[torch.Tensor]):
    """Augments with all three global generators."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        return index + torch.rand(1) + float(np.random.rand()) + random.random()


SHUFFLING: dict[str, Callable[[], Any]] = {
    "plain": lambda: DataLoader(TensorDataset(torch.arange(40.0)[:, None]), 7),
    "shuffled": lambda: DataLoader(TensorDataset(torch.arange(40.0)[:, None]), 7, shuffle=True),
    "generator": lambda: DataLoader(
        TensorDataset(torch.arange(40.0)[:, None]), 7, True, generator=torch.Generator().manual_seed(5)
    ),
    "augmented": lambda: DataLoader(Noisy(), 7, shuffle=True),
    "list": lambda: list(torch.arange(40.0)[:, None].split(9)),
}


@pytest.mark.parametrize("kind", SHUFFLING)
def test_same_seed_same_images(kind: str) -> None:
    first = SHUFFLING[kind]()
    want = images(first, 16, seed=3)
    assert len(want) == 16
    assert torch.equal(images(first, 16, seed=3), want)
    torch.rand(3), np.random.rand(), random.random()
    assert torch.equal(images(SHUFFLING[kind](), 16, seed=3), want)
    if kind not in ("plain", "list"):
        assert not torch.equal(images(first, 16, seed=4), want)


@pytest.mark.parametrize("kind", SHUFFLING)
def test_the_callers_randomness_is_untouched(kind: str) -> None:
    loader = SHUFFLING[kind]()

    def draw() -> tuple[float, float, float, Any]:
        return (
            torch.rand(1).item(),
            float(np.random.rand()),
            random.random(),
            loader.generator.get_state().tolist() if getattr(loader, "generator", None) else None,
        )

    def seed() -> None:
        torch.manual_seed(1), np.random.seed(1), random.seed(1)

    seed()
    want = [draw() for _ in range(3)]
    seed()
    got = [draw() for _ in zip(range(3), FirstImages(loader, 30, seed=0, name="x"), strict=False)]
    assert got == want


def test_workers_give_the_same_images() -> None:
    loader = DataLoader(TensorDataset(torch.arange(40.0)[:, None]), 7, shuffle=True, num_workers=1)
    assert torch.equal(images(loader, 10), images(SHUFFLING["shuffled"](), 10))


def test_fewer_than_asked_for_and_the_digest() -> None:
    loader = SHUFFLING["shuffled"]()
    assert len(images(loader, 1000)) == 40
    digests = {FirstImages(loader, n, seed=s, name="x").digest for n, s in [(5, 0), (6, 0), (5, 1)]}
    assert len(digests) == 3
    assert FirstImages(SHUFFLING["shuffled"](), 5, seed=0, name="x").digest in digests


def test_digest_sees_labels_types_and_values() -> None:
    def digest(*batch: torch.Tensor) -> str:
        return FirstImages([batch], 99, seed=0, name="x").digest

    changed = X.clone()
    changed[5, 3] += 1e-3
    variants = [
        (X, Y),
        (X, Y.flip(0)),
        (X.double(), Y),
        (X, Y.int()),
        (X.reshape(6, 2, 2), Y),
        (changed, Y),
        (X,),
    ]
    assert len({digest(*v) for v in variants}) == len(variants)


def test_bfloat16_has_a_digest() -> None:
    assert FirstImages([X.bfloat16()], 9, seed=0, name="x").digest


def test_a_loader_that_changes_is_refused() -> None:
    class Drifting:
        def __init__(self) -> None:
            self.number = 0

        def __iter__(self) -> Any:
            self.number += 1
            return iter([X + self.number])

    view = FirstImages(Drifting(), 4, seed=0, name="data.train")
    assert view.digest
    with pytest.raises(DataError, match=r"data\.train must give the same images in every pass"):
        list(view)


@pytest.mark.parametrize("empty", [[], DataLoader(TensorDataset(X[:0]), 2)])
def test_empty_loader(empty: Any) -> None:
    with pytest.raises(
        DataError, match=r"data\.search_val must hold at least one image, got an empty loader"
    ):
        list(read(empty, seed=0, name="data.search_val"))


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match="read again"):
        list(read(iter([X]), seed=0, name="data.train"))
    with pytest.raises(ArgumentError, match="read again"):
        list(read(3, seed=0, name="data.train"))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="at least 1, got 0"):
        FirstImages([X], 0, seed=0, name="data.train")


def test_any_object_with_the_attributes_will_do() -> None:
    class Mine(NamedTuple):
        train: list[torch.Tensor]
        search_val: list[torch.Tensor]
        extra: int = 0

    assert isinstance(Mine([X], [X]), Splits)
    assert isinstance(DataSplits(train=[X], search_val=[X]), Splits)
    assert not isinstance((X, X), Splits)
