"""What is shown of a stage that takes long: tensors, bytes, rate and time left."""

from __future__ import annotations

import io

import pytest

from lftool.api import StageFinished, TensorDone
from lftool.builtin.console import ConsoleObserver

MEGABYTE = 10**6


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock():
    """Seconds that a test sets."""

    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    return Clock()


def tensor(index: int, done: int | None, stage: str = "quantize") -> TensorDone:
    total = None if done is None else 100 * MEGABYTE
    return TensorDone(stage=stage, target="q4", tensor=f"t{index}", index=index, count=10, done=done, total=total)


def test_without_a_terminal_a_line_comes_every_ten_seconds(monkeypatch, clock) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    observer = ConsoleObserver(clock)
    for index, seconds in ((1, 0), (2, 4), (3, 11), (4, 15), (5, 22), (10, 40)):
        clock.now = 100.0 + seconds
        observer(tensor(index, index * 10 * MEGABYTE))
    assert out.getvalue().splitlines() == [
        " quantize  q4  3 of 10, t3, 30.0 MB of 100.0 MB, 1.8 MB/s, 0:38 left",
        " quantize  q4  5 of 10, t5, 50.0 MB of 100.0 MB, 1.8 MB/s, 0:28 left",
    ]


def test_where_sizes_are_not_known_tensors_are_counted(monkeypatch, clock) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    observer = ConsoleObserver(clock)
    observer(tensor(1, None, "convert"))
    clock.now += 11
    observer(tensor(2, None, "convert"))
    assert out.getvalue() == "  convert  q4  2 of 10, t2\n"


def test_a_bar_shows_tensor_rate_and_time_left_and_goes_with_its_stage(monkeypatch, clock) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    observer = ConsoleObserver(clock)
    observer(tensor(1, 10 * MEGABYTE))
    clock.now += 10
    observer(tensor(2, 20 * MEGABYTE))
    (task,) = observer._bars.tasks
    assert (task.completed, task.total) == (2, 10)
    assert task.fields["detail"] == "2 of 10, t2, 20.0 MB of 100.0 MB, 1.0 MB/s, 1:20 left"
    observer(StageFinished(stage="quantize", target="q4", seconds=1.0, detail="done"))
    assert observer._bars is None
    assert "quantize  q4  done  1.0 s" in out.getvalue()


def test_a_stage_that_is_done_again_starts_from_nothing(monkeypatch, clock) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    observer = ConsoleObserver(clock)
    observer(tensor(1, 10 * MEGABYTE))
    observer(tensor(9, 90 * MEGABYTE))
    clock.now += 1000
    observer(tensor(1, 10 * MEGABYTE))
    clock.now += 10
    observer(tensor(2, 20 * MEGABYTE))
    assert out.getvalue().splitlines()[-1] == " quantize  q4  2 of 10, t2, 20.0 MB of 100.0 MB, 1.0 MB/s, 1:20 left"
