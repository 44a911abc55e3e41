"""Work in parallel: order, failure and interrupts."""

from __future__ import annotations

import threading

import pytest

from lftool.api import WorkStopped
from lftool.pipeline.parallel import in_parallel


class Stoppable:
    """The part of the ports that stops work."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.events: list[object] = []
        self.cancel = self.cancelled.set
        self.emit = self.events.append


class InterruptedOnTheWay(list):
    """Items of which only the first is handed out before Ctrl-C."""

    def __iter__(self):
        yield self[0]
        raise KeyboardInterrupt


def test_results_are_in_the_order_of_the_items():
    first = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            first.wait(5)
        first.set()
        return item * 10

    assert in_parallel(work, [0, 1, 2], 2, Stoppable()) == [0, 10, 20]


def test_the_first_failure_stops_the_rest():
    ports, stopped = Stoppable(), []

    def work(item: str) -> None:
        if item == "bad":
            raise ValueError(item)
        stopped.append(ports.cancelled.wait(5))

    with pytest.raises(ValueError, match="bad"):
        in_parallel(work, ["slow", "bad"], 2, ports)

    assert (stopped, ports.events) == ([True], [WorkStopped()])


def test_an_interrupt_while_work_is_handed_out_stops_what_runs_already():
    ports, stopped = Stoppable(), []

    with pytest.raises(KeyboardInterrupt):
        in_parallel(lambda _: stopped.append(ports.cancelled.wait(5)), InterruptedOnTheWay([1, 2]), 2, ports)

    assert (stopped, ports.events) == ([True], [WorkStopped()])
