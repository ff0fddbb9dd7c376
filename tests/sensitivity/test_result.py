"""The result object: correlations against scipy, table, CSV, plot."""

import csv
import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.errors import ArgumentError
from autoprune.sensitivity import Point, Sensitivity, spearman


def example(labeled: bool = True) -> Sensitivity:
    """Two groups at three ratios; in the second, two ratios come to one width."""
    rows = [
        ("features.0.weight", 8, 0.25, 6, 0.1, 0.02, 0.9, 0.3),
        ("features.0.weight", 8, 0.5, 4, 0.2, 0.05, 0.8, 0.5),
        ("features.0.weight", 8, 0.75, 2, 0.9, 0.20, 0.4, 1.5),
        ("b", 2, 0.25, 1, 11.5, 0.4, 0.5, 2.5),
        ("b", 2, 0.5, 1, 11.5, 0.4, 0.5, 2.5),
        ("b", 2, 0.75, 1, 11.5, 0.4, 0.5, 2.5),
    ]
    points = tuple(Point(*row) for row in rows)
    if not labeled:
        points = tuple(dataclasses.replace(p, accuracy=None, loss=None) for p in points)
    dense = {"kl": 0.0, "accuracy": 0.95, "loss": 0.2} if labeled else {"kl": 0.0}
    return Sensitivity(points, dense)


numbers = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=0, max_size=12)


@given(numbers)
def test_spearman_equals_pearson_of_plain_ranks(pairs: list[tuple[int, int]]) -> None:
    def ranks(values: list[int]) -> list[float]:
        return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = spearman(first, second)
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(ranks(first), ranks(second))[0, 1], abs=1e-12)
        assert -1 - 1e-12 <= found <= 1 + 1e-12


def test_correlations() -> None:
    result = example()
    assert result.correlation("features.0.weight") == pytest.approx(1)
    assert result.correlation("features.0.weight", "accuracy") == pytest.approx(-1)
    assert math.isnan(result.correlation("b")), "one width is one point"
    assert result.correlation() == pytest.approx(1)
    assert result.correlation(metric="accuracy") == pytest.approx(spearman([2, 5, 20, 40], [9, 8, 4, 5]))
    assert list(result.correlations()) == ["features.0.weight", "b"]


TABLE = """\
One group pruned alone, by its pruning ratio: accuracy in % (dense 95.0)
group              units   25%   50%   75%  spearman
----------------------------------------------------
features.0.weight      8  90.0  80.0  40.0      1.00
b                      2  50.0  50.0  50.0         -
----------------------------------------------------
spearman: rank correlation of the free reconstruction error with the measured KL; over all points 1.00"""


def test_table() -> None:
    assert str(example()) == example().table() == TABLE
    plain = example(labeled=False)
    assert "KL divergence" in plain.table()
    assert "11.5" in plain.table()
    assert "0.020" in plain.table("error")


@pytest.mark.parametrize(
    ("metric", "message"),
    [("acc", "metric must be one of accuracy, loss, kl, error, got 'acc'"), ("loss", "'loss' needs labels")],
)
def test_refuses_metrics(metric: str, message: str, tmp_path: Path) -> None:
    for show in (example(False).table, lambda m: example(False).plot(tmp_path / "x.png", m)):
        with pytest.raises(ArgumentError, match=message):
            show(metric)


def test_csv(tmp_path: Path) -> None:
    for labeled in (True, False):
        result = example(labeled)
        result.to_csv(tmp_path / "new" / "points.csv")
        with open(tmp_path / "new" / "points.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        read = [
            Point(
                r["group"],
                int(r["size"]),
                float(r["ratio"]),
                int(r["width"]),
                float(r["kl"]),
                float(r["error"]),
                float(r["accuracy"]) if r["accuracy"] else None,
                float(r["loss"]) if r["loss"] else None,
            )
            for r in rows
        ]
        assert tuple(read) == result.points


def test_parts() -> None:
    result = example()
    assert result.groups == ("features.0.weight", "b")
    assert result.ratios == (0.25, 0.5, 0.75)
    assert [p.width for p in result.of("features.0.weight")] == [6, 4, 2]
    assert (result.metric, example(False).metric) == ("accuracy", "kl")
    with pytest.raises(KeyError):
        result.of("c")


def test_a_plot_without_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ArgumentError, match=r"a plot needs matplotlib: pip install 'autoprune\[plot\]'"):
        example().plot(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for result in (example(), example(labeled=False)):
        for suffix, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
            result.plot(tmp_path / f"x{suffix}")
            assert (tmp_path / f"x{suffix}").read_bytes().startswith(magic)
    with pytest.raises(ArgumentError, match=r"path must end with one of .png, .svg, .pdf, got 'x.gif'"):
        example().plot(tmp_path / "x.gif")


def test_the_plot_shows_every_name_and_value(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from autoprune.sensitivity.plot import _figure, grid

    result = example()
    figure = _figure(result, {name: grid(result, name) for name in ("accuracy", "error")})
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == list(result.groups)
    assert [text.get_text() for text in left.texts] == ["90.0", "80.0", "40.0", "50.0", "50.0", "50.0"]
    assert [text.get_text() for text in right.texts][-2:] == ["1.00", "-"]
