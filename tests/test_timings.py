import time

import pytest

from autoprune.timings import Timings


def test_inner_parts_are_not_counted_twice() -> None:
    timings, start = Timings(), time.perf_counter()
    with timings("outer"):
        time.sleep(0.05)
        for _ in range(2):
            with timings("inner"):
                time.sleep(0.05)
    passed = time.perf_counter() - start
    assert timings.seconds["inner"] >= 0.1 and timings.seconds["outer"] >= 0.05
    assert timings.total == pytest.approx(passed, rel=0.05)
    assert timings.total - timings.seconds["inner"] == pytest.approx(timings.seconds["outer"])


def test_a_part_that_fails_is_counted() -> None:
    timings = Timings()
    with pytest.raises(ValueError), timings("a"), timings("b"):
        raise ValueError
    assert set(timings.seconds) == {"a", "b"} and not timings._inner


def test_the_table_begins_with_the_longest_part() -> None:
    timings = Timings()
    assert timings.table() == ""
    timings.seconds |= {"short": 1.0, "much longer": 3.0}
    assert timings.table().splitlines() == [
        "much longer       3.00 s   75.0%",
        "short             1.00 s   25.0%",
    ]
