import html
import json
import logging
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import ArgumentError
from autoprune.report import write_report, write_report_or_log
from autoprune.report.figures import CHARTS
from autoprune.report.page import page, plotly_script
from autoprune.report.read import read_run
from tests.report.made import make_run

pytest.importorskip("plotly")
HOSTILE = {"<script>alert(1)</script>\"'&amp;.weight": 8, "b</script><!--.weight": 4}


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def without_plotly(text: str) -> str:
    return text.replace(plotly_script(), "")


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(without_plotly(text))
    return parser.found


def visible(text: str) -> str:
    text = re.sub(r"<(script|style).*?</\1>", "", without_plotly(text), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    text = page(read_run(make_run(tmp_path)))
    found = elements(text)
    assert not [e for e in found if e[0] in ("link", "img", "iframe") and e[1].get("rel") != "icon"]
    addresses = [a[name] for _, a in found for name in ("src", "href") if name in a]
    assert all(address is not None and address.startswith(("#", "data:")) for address in addresses)
    assert text.count(plotly_script()) == 1
    assert "default-src 'none'" in text


def test_what_the_page_says(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "r20"))
    text = visible(page(run))
    share = 100 * run.found.costs["macs"] / run.dense.costs["macs"]
    assert f"keeps {share:.1f}% of the MACs" in text and "within the budget macs=50%" in text
    assert f"{100 * run.found.metrics['accuracy']:.1f}% right answers on 400 search images" in text
    assert "the dense one 98.0%." in text
    gain = run.best.score + 0.4
    assert f"{gain:.4f} above the better baseline (greedy, -0.4000)" in text
    assert "autoprune search" in text and "--seed 3" in text
    assert "locked: output of the model" in text
    assert "900 for the calibration (at most 2,000 asked for)" in text
    assert f"torch {run.config.machine.versions['torch']}" in text
    assert "one image is 0.25 points" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stopped": True}, "stopped after 40 of 60 episodes"),
        ({"remarks": ("the table is of another machine",)}, "the table is of another machine"),
        ({"times": {"dense": 3.0, "found": 1.25}}, "1.25 ms dense 3 ms, both measured"),
        ({"images": {"search": 1, "calibration": 1}}, "on 1 search images"),
    ],
)
def test_what_the_page_says_of_other_runs(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in visible(page(read_run(make_run(tmp_path, settings={"episodes": 60}, **changes))))


def test_a_search_that_found_nothing_better_says_so(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    outcome = directory.read_outcome()
    rows = [r.model_copy(update={"score": 0.5}) if r.name == "greedy" else r for r in outcome.rows]
    directory.write_outcome(outcome.model_copy(update={"rows": tuple(rows)}))
    assert "found nothing better than greedy" in visible(page(read_run(directory)))


def test_without_labels_the_page_speaks_of_the_divergence(tmp_path: Path) -> None:
    text = visible(page(read_run(make_run(tmp_path, labeled=False))))
    assert "right answers" not in text and "accuracy" not in text.replace("test accuracy", "")
    assert "nats from those of the dense one." in text


def test_names_cannot_leave_their_place(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, HOSTILE))
    text = page(run)
    scripts = [a for tag, a in elements(text) if tag == "script"]
    assert len(scripts) == 3
    assert all(name in visible(text) for name in HOSTILE)
    body = text.split('id="specs">')[1].split("</script>")[0]
    assert json.loads(body) == {
        chart.name: [view.spec() for view in chart.views] for chart in (make(run) for make in CHARTS)
    }


def test_every_chart_and_table_is_labeled(tmp_path: Path) -> None:
    found = elements(page(read_run(make_run(tmp_path))))
    names = {a["id"] for _, a in found if "id" in a}
    for tag, attributes in found:
        for key in ("aria-labelledby", "aria-describedby"):
            assert key not in attributes or attributes[key] in names, (tag, attributes)
    charts = [a for _, a in found if "data-chart" in a]
    assert len(charts) == len(CHARTS)
    assert all(a["aria-labelledby"] and a["aria-describedby"] for a in charts)
    assert [a["lang"] for tag, a in found if tag == "html"] == ["en"]


def test_without_plotly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    directory = make_run(tmp_path)
    monkeypatch.setattr("autoprune.report.page.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"needs plotly and jinja2: pip install 'autoprune\[report\]'"):
        write_report(tmp_path)
    with caplog.at_level(logging.WARNING):
        write_report_or_log(tmp_path)
    assert [r.getMessage() for r in caplog.records] == [
        "no report.html was written: the report needs plotly and jinja2: pip install 'autoprune[report]'"
    ]
    assert not directory.report_path.exists()


def test_without_jinja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ArgumentError, match="needs plotly and jinja2"):
        write_report(tmp_path)


def test_any_failure_is_one_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    make_run(tmp_path)
    monkeypatch.setattr("autoprune.report.page.CHARTS", (lambda run: 1 / 0,))
    with caplog.at_level(logging.WARNING):
        write_report_or_log(tmp_path)
    assert [r.getMessage() for r in caplog.records] == [
        "no report.html was written: ZeroDivisionError: division by zero"
    ]
