from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoprune.report.figures import CHARTS, curves, front, learning, pareto, ratios, widths
from autoprune.report.figures.style import BACKGROUNDS, COLORS, blend, score_range
from autoprune.report.read import Candidate, Run, read_run
from tests.report.made import LOCKED, SIZES, make_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_run(make_run(tmp_path))


def trace(chart: Any, name: str, view: int = 0) -> dict[str, Any]:
    return next(t for t in chart.views[view].data if t["name"] == name)


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_color_stands_out_from_either_background(background: str) -> None:
    colors = [*COLORS.values(), *(blend(i / 60) for i in range(61))]
    assert {c: contrast(c, background) for c in colors if contrast(c, background) < 3} == {}


def test_the_backgrounds_are_those_of_the_style_sheet(root: Path) -> None:
    text = (root / "autoprune" / "report" / "page.css").read_text()
    assert all(f"--card: {color};" in text for color in BACKGROUNDS)


def test_the_texts_of_the_style_sheet_stand_out(root: Path) -> None:
    text = (root / "autoprune" / "report" / "page.css").read_text()
    for block in text.split(":root {")[1:]:
        pairs = (part.split(":") for part in block.split("}")[0].split(";") if "--" in part)
        colors = {name.strip(): value.strip() for name, value in pairs}
        for front_name in ("--text", "--soft", "--accent"):
            for back in ("--page", "--card"):
                assert contrast(colors[front_name], colors[back]) >= 4.5, (front_name, back, colors)
        assert contrast(colors["--text"], colors["--mark"]) >= 4.5


def candidates(pairs: list[tuple[float, float]]) -> list[Candidate]:
    return [Candidate(i, (), score, score, None, {"macs": cost}) for i, (cost, score) in enumerate(pairs)]


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        pairs = [tuple(map(float, p)) for p in rng.integers(0, 6, (12, 2))]
        made = candidates(pairs)  # type: ignore[arg-type]

        def beaten(a: Candidate, made: list[Candidate] = made) -> bool:
            return any(
                b.costs["macs"] <= a.costs["macs"]
                and b.score >= a.score
                and (b.costs["macs"], b.score) != (a.costs["macs"], a.score)
                for b in made
            )

        expected = {(c.costs["macs"], c.score) for c in made if not beaten(c)}
        found = [(c.costs["macs"], c.score) for c in front(made, "macs")]
        assert set(found) == expected and len(found) == len(expected)
        assert found == sorted(found)


def test_learning(run: Run) -> None:
    chart = learning(run)
    scores = [c.score for c in run.history]
    assert trace(chart, "candidate")["y"] == scores
    assert trace(chart, "best so far")["y"] == list(accumulate(scores, max))
    assert trace(chart, "uniform")["y"] == [-0.45, -0.45] and trace(chart, "greedy")["y"] == [-0.4, -0.4]
    assert trace(chart, "found")["y"] == [run.found.score]
    first = next(i for i, score in enumerate(scores) if score > -0.4)
    assert f"Episode {first} is the first above all baselines (-0.4000)" in chart.words


def test_the_best_so_far_is_by_reward(run: Run) -> None:
    history = tuple(
        Candidate(i, c.widths, -c.reward, c.score, None, c.costs) for i, c in enumerate(run.history)
    )
    changed = Run(run.name, run.config, run.outcome, history, 1.0, None, 0)
    assert trace(learning(changed), "best so far")["y"] == list(accumulate([c.score for c in history], min))


@pytest.mark.parametrize(
    ("scores", "others", "hidden"),
    [
        ([-0.3, -0.2, -0.25, -0.28], [-0.4], 0),
        ([*np.linspace(-0.4, -0.2, 30), -5.0], [-0.3], 1),
        ([*np.linspace(-0.4, -0.2, 30), -5.0, -6.0], [-0.3], 2),
        ([*np.linspace(-0.4, -0.2, 30), -5.0], [-5.5], 0),
        ([-0.3], [-0.3], 0),
        ([-0.3] * 20 + [-3.0], [-0.3], 1),
    ],
)
def test_a_few_bad_candidates_do_not_stretch_the_chart(
    scores: list[float], others: list[float], hidden: int
) -> None:
    shown, below = score_range(scores, others)
    assert below == hidden
    assert (shown is None) == (hidden == 0)
    if shown is not None:
        assert shown[0] < min(others) and max(*scores, *others) < shown[1]
        assert sum(score < shown[0] for score in scores) == hidden


def test_widths(run: Run) -> None:
    chart = widths(run)
    names = [group.name for group in run.outcome.groups]
    assert names[-1] == LOCKED
    assert trace(chart, "dense")["x"] == [*SIZES.values(), 10]
    assert trace(chart, "found")["x"] == [*run.found.widths.values(), 10]
    assert trace(chart, "dense")["text"][-1] == " 10 locked · 1.0% of MACs"
    assert trace(chart, "greedy")["x"] == [size // 2 for size in SIZES.values()]
    shares = [w / s for w, s in zip(run.found.widths.values(), SIZES.values(), strict=True)]
    assert trace(chart, "found", 1)["x"] == [*shares, 1.0]
    assert "output of the model" in trace(chart, "dense")["hovertext"][-1]
    assert chart.views[0].layout["yaxis"]["ticktext"][0] == "stem"


def test_ratios(run: Run) -> None:
    first, second = ratios(run).views
    z = np.array(first.data[0]["z"])
    expected = np.array([c.widths for c in run.history]).T / np.array(list(SIZES.values()))[:, None]
    np.testing.assert_allclose(z, expected, atol=1e-5)
    order = sorted(range(len(run.history)), key=lambda i: -run.history[i].score)
    np.testing.assert_allclose(np.array(second.data[0]["z"]), expected[:, order], atol=1e-5)
    assert second.data[0]["meta"]["episodes"] == order


def test_curves(run: Run) -> None:
    chart = curves(run)
    stars = trace(chart, "found")
    kept, sizes = np.array(list(run.found.widths.values())), np.array(list(SIZES.values()))
    np.testing.assert_allclose(stars["x"], kept / sizes)
    np.testing.assert_allclose(stars["y"], (1 - kept / sizes) ** 2)
    line = trace(chart, "stem")
    assert line["x"][0] == 1 / 16 and line["x"][-1] == 1 and line["y"][-1] == 0
    assert all(y > 0 for t in chart.views[1].data for y in t["y"])  # of the logarithmic view


def test_pareto(run: Run) -> None:
    chart = pareto(run)
    assert [view.label for view in chart.views] == ["MACs", "parameters"]
    assert trace(chart, "budget")["x"] == [5600, 5600]
    assert "budget" not in [t["name"] for t in chart.views[1].data]
    assert trace(chart, "dense")["visible"] == "legendonly"
    line = trace(chart, "Pareto front")
    assert all(a < b for a, b in pairwise(line["y"])) and all(a < b for a, b in pairwise(line["x"]))


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_small_runs_can_be_drawn(tmp_path: Path, count: int, labeled: bool) -> None:
    run = read_run(make_run(tmp_path, {"only.weight": 1}, count, labeled=labeled, limits={"params": 5.0}))
    for make in CHARTS:
        chart = make(run)
        assert chart.title and chart.words and chart.views
