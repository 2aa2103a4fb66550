"""One thing behind another: in order, one at a time, and no error is lost."""

import threading

import pytest

from pipeline.dump.overlap import OneBehind


def test_calls_come_in_order_and_are_over_at_the_end():
    done = []
    with OneBehind() as thread:
        for number in range(20):
            thread.later(done.append, number)
    assert done == list(range(20))


def test_a_call_runs_while_the_caller_goes_on():
    go_on = threading.Event()
    with OneBehind() as thread:
        thread.later(go_on.wait, 10)
        assert not go_on.is_set()  # we are here although it waits
        go_on.set()


def test_the_second_call_waits_for_the_first():
    first_is_over, order = threading.Event(), []

    def first():
        first_is_over.wait(10)
        order.append("first")

    with OneBehind() as thread:
        thread.later(first)
        threading.Timer(0.05, first_is_over.set).start()
        thread.later(order.append, "second")
        assert order[0] == "first"


def test_wait_returns_when_nothing_is_under_way():
    go_on, done = threading.Event(), []

    def slow():
        go_on.wait(10)
        done.append("slow")

    with OneBehind() as thread:
        thread.wait()
        thread.later(slow)
        threading.Timer(0.05, go_on.set).start()
        thread.wait()
        assert done == ["slow"]


def test_wait_raises_an_error_once():
    with OneBehind() as thread:
        thread.later(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            thread.wait()
        thread.wait()


@pytest.mark.parametrize("calls_after", [0, 1])
def test_errors_are_raised(calls_after):
    done = []

    def fail():
        raise OSError("no space left")

    def use():
        with OneBehind() as thread:
            thread.later(fail)
            for _ in range(calls_after):
                thread.later(done.append, 1)

    with pytest.raises(OSError, match="no space left"):
        use()
    assert done == []


def test_the_callers_error_goes_first():
    def use():
        with OneBehind() as thread:
            thread.later(int, "0")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        use()
