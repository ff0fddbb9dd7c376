import math

import pytest
import torch

from autoprune.score.looks import critical, looks, worse


@pytest.mark.parametrize(
    ("ends", "cut", "expected"),
    [
        ((128, 256, 384, 512), True, (64, 128, 256)),
        ((128, 256, 384, 512), False, (128, 256)),
        ((125, 250, 375, 500), True, (64, 125, 250)),
        ((512, 1024, 1536, 2048), True, (64, 128, 256, 512, 1024)),
        ((512, 1024, 1536, 2048), False, (512, 1024)),
        ((8, 16, 24, 32, 40, 48, 56, 64, 72), True, (64,)),
        ((1, *range(2, 131)), False, (64, 128)),
        ((200,), True, (64, 128)),
        ((200,), False, ()),
        ((80,), True, ()),  # 16 images more are all of them
        ((64,), True, ()),
        ((5,), True, ()),
    ],
)
def test_looks_double_and_fall_on_batch_ends_nearby(
    ends: tuple[int, ...], cut: bool, expected: tuple[int, ...]
) -> None:
    assert looks(ends, cut=cut) == expected


@pytest.mark.parametrize(
    ("level", "freedom", "expected"),
    [
        (0.05, 60, 1.67065),
        (0.01, 60, 2.39012),
        (0.001, 60, 3.23171),
        (0.0005, 60, 3.46020),
        (0.001, 120, 3.15954),
        (0.001, 10**9, 3.09023),
    ],
)
def test_the_critical_value_is_that_of_the_tables(level: float, freedom: int, expected: float) -> None:
    assert critical(level, freedom) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.1, 0.2, 0.3, 0.4, 0.6])
def test_the_test_is_a_paired_one_sided_t_test(shift: float) -> None:
    values = (torch.randn(64, dtype=torch.float64) + shift).tolist()
    mean = sum(values) / 64
    variance = sum((value - mean) ** 2 for value in values) / 63
    t = mean / math.sqrt(variance / 64)
    for level, bound in ((0.05, 1.66940), (0.001, 3.22537)):
        assert worse(torch.tensor(values, dtype=torch.float64), level) == (t > bound)


def test_equal_values_are_no_proof() -> None:
    assert not worse(torch.zeros(64, dtype=torch.float64), 0.4)
    assert not worse(torch.full((64,), -1.0, dtype=torch.float64), 0.4)
    assert worse(torch.ones(64, dtype=torch.float64), 1e-6)
