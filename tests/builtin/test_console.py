"""What is shown of a stage that takes long: tensors, bytes, rate and time left."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.terminals import Terminal as RealTerminal

from lftool.api import Notice, StageFinished, StageStarted, TensorDone
from lftool.builtin.console import ConsoleObserver, Shown

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


def test_a_bar_shows_rate_and_time_left_and_goes_with_its_stage(monkeypatch, clock) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("NO_COLOR", "1")
    observer = ConsoleObserver(clock)
    observer(tensor(1, 10 * MEGABYTE))
    clock.now += 10
    observer(tensor(2, 20 * MEGABYTE))
    (task,) = observer._bars.tasks
    assert task.fields["shown"] == Shown("quantize", "q4", 0.2, ("20.0 MB of 100.0 MB", "1.0 MB/s", "1:20 left", "t2"))
    observer(StageFinished(stage="quantize", target="q4", seconds=1.0, detail="done"))
    assert observer._bars is None
    assert "quantize  q4  done  1.0 s" in out.getvalue()


WIDE = Shown("quantize", "smollm2-q4", 0.07, ("34.0 MB of 96.6 MB", "9.3 MB/s", "0:07 left", "blk.1.ffn_norm.weight"))
LINES = {
    120: (
        " quantize  smollm2-q4  ━━─────────────────────────   7%"
        "  34.0 MB of 96.6 MB  9.3 MB/s  0:07 left  blk.1.ffn_norm.weight"
    ),
    80: " quantize  smollm2-q4  ━─────────   7%  34.0 MB of 96.6 MB  9.3 MB/s  0:07 left",
    60: " quantize  smollm2-q4  ━─────────   7%  9.3 MB/s  0:07 left",
    40: " quantize  …ollm2-q4     7%  0:07 left",
}


@pytest.mark.parametrize("width", LINES)
def test_a_bar_keeps_target_and_time_left_where_there_is_little_room(width) -> None:
    assert "".join(WIDE.line(width)) == LINES[width]


@given(
    st.integers(40, 200),
    st.text(alphabet="abc/-", min_size=1, max_size=60),
    st.one_of(st.none(), st.floats(0, 1)),
    st.lists(st.text(alphabet="xyz 0", max_size=30), max_size=4),
)
def test_a_bar_fits_the_terminal(width, target, share, detail) -> None:
    line = "".join(Shown("quantize", target, share, tuple(detail)).line(width))
    assert len(line) < width
    assert target[-7:] in line


@pytest.mark.parametrize("columns", [80, 40])
def test_two_bars_can_be_told_apart_on_a_real_terminal(columns, tmp_path) -> None:
    command = [sys.executable, "-c", TWO_BARS]
    terminal = RealTerminal(command, tmp_path, {"PATH": "/usr/bin", "NO_COLOR": "1"}, columns)
    try:
        for target in ("q4", "q8"):
            terminal.wait_for(f"quantize  [^\r\n]*{target} [^\r\n]* left")
        terminal.wait_for("q8 [^\r\n]* left")
        shown = [line for line in terminal.received() if "quantize" in line]
    finally:
        terminal.close()
    assert [re.search("q[48]", line)[0] for line in shown] == ["q4", "q8"]
    assert [line for line in shown if len(line) > columns or "left" not in line] == []


TWO_BARS = """
import time
from lftool.api import TensorDone
from lftool.builtin.console import ConsoleObserver
observer = ConsoleObserver()
for index in range(1, 1000):
    for target in ("smollm2-q4", "smollm2-q8"):
        observer(TensorDone(target=target, tensor="blk.1.ffn_norm.weight", index=index, count=1000, done=index * 10**6, total=10**9))
    time.sleep(0.05)
"""


def colours(monkeypatch, **variables: str) -> str:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    observer = ConsoleObserver()
    observer(StageFinished(stage="pack", target="q4", seconds=1.0, detail="x"))
    observer(StageStarted(stage="convert", target="q4", cached=True))
    observer(Notice(text="mind the \x1b[31mgap", warning=True))
    return out.getvalue()


def test_colours_mean_done_skipped_and_careful(monkeypatch) -> None:
    assert colours(monkeypatch).splitlines() == [
        "     \x1b[32mpack\x1b[0m  q4  x  1.0 s",
        "\x1b[2m  convert  q4  cached\x1b[0m",
        "  \x1b[33mwarning\x1b[0m  mind the \\x1b[31mgap",
    ]


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LFTOOL_COLOR": "never"}], ids=str)
def test_there_are_none_where_they_are_not_wanted(monkeypatch, variables) -> None:
    assert "\x1b[3" not in colours(monkeypatch, **variables)


def test_quiet_is_problems_only(monkeypatch) -> None:
    assert colours(monkeypatch, LFTOOL_VERBOSITY="-1", NO_COLOR="1") == "  warning  mind the \\x1b[31mgap\n"


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
