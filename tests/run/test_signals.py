import os
import signal
import threading
from collections.abc import Callable

import pytest

from autoprune.run.signals import StopRequest

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    for _ in range(1000):
        pass


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_breaks_off_an_attempt(number: signal.Signals) -> None:
    reached = []

    def step() -> int:
        try:
            send(number)
        except Exception:
            reached.append("swallowed")
        reached.append("went on")
        return 1

    with StopRequest() as stop:
        assert stop.attempt(lambda: 5) == 5
        assert stop.attempt(step) is None
        assert stop.requested and not reached
        assert stop.attempt(lambda: 5) is None


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_an_attempt_it_only_asks(number: signal.Signals) -> None:
    with StopRequest() as stop:
        send(number)
        assert stop.requested


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_aborts(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest():
        send(number)
        send(number)


def test_handlers_come_back() -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with StopRequest():
        assert [signal.getsignal(n) for n in SIGNALS] != before
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGINT)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise ValueError("mine")


def test_a_keyboard_interrupt_of_a_step_asks_too() -> None:
    with StopRequest() as stop:
        assert stop.attempt(interrupt) is None
        assert stop.requested


def test_other_errors_pass() -> None:
    with StopRequest() as stop, pytest.raises(ValueError, match="mine"):
        stop.attempt(fail)


def test_in_a_thread_there_are_no_handlers() -> None:
    results: list[object] = []

    def work(step: Callable[[], object]) -> None:
        with StopRequest() as stop:
            results.append(stop.attempt(step))

    thread = threading.Thread(target=work, args=(lambda: 7,))
    thread.start()
    thread.join()
    assert results == [7]
