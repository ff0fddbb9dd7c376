"""The page of operations is made from the rules."""

from pathlib import Path

from autoprune.graph.registry import table
from autoprune.graph.table import explained, operations

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_page_is_up_to_date() -> None:
    message = "run: python -m autoprune.graph.table docs/operations.md"
    assert PAGE.read_text(encoding="utf-8") == operations(), message


def test_every_rule_says_what_it_does_and_why_that_is_exact() -> None:
    rules = {rule for rule in table().values() if rule.__module__.startswith("autoprune.graph.rules.")}
    assert len(rules) > 50
    for rule in rules:
        what, why = explained(rule)
        assert what.endswith(".") and "xact" in why, (rule.__name__, what, why)
        assert "|" not in what + why
