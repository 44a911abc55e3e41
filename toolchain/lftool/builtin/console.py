"""Console output for users: progress bars on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from lftool.api import (
    BytesFetched,
    BytesSent,
    Notice,
    StageFinished,
    StageStarted,
    TensorDone,
    WorkStopped,
    folded,
    has_colors,
    printable,
    styled,
    verbosity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.api import Event, Style

_LINE_SECONDS = 10.0
_LEAST_BAR, _MOST_BAR, _NARROW = 8, 40, 50  # columns
_TOTAL = ("fetch", "total")
Key = tuple[str, str]


def amount(size: float) -> str:
    """Return a number of bytes for display, in decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


@define
class Arrival:
    """The progress of a file, and when it started."""

    since: float
    first: int
    done: int
    total: int | None
    shown: float

    def parts(self, now: float) -> tuple[str, str, str]:
        """Return amount, rate and remaining time; the last is empty if it is not known."""
        rate = (self.done - self.first) / max(now - self.since, 1e-3)
        left = ""
        if self.total and rate > 0:
            seconds = round((self.total - self.done) / rate)
            left = f"{seconds // 60}:{seconds % 60:02} left"
        return amount(self.done) + (f" of {amount(self.total)}" if self.total else ""), f"{amount(rate)}/s", left

    def text(self, now: float) -> str:
        """Return amount, rate and remaining time in words."""
        return ", ".join(part for part in self.parts(now) if part)


@frozen
class Shown:
    """What a bar shows.

    Attributes:
        stage: What is done.
        target: To what.
        share: How much of it, from 0 to 1; None if that is not known.
        detail: Amount, rate and remaining time, and what is worked on; the first to go where there is no room is the last.
    """

    stage: str
    target: str
    share: float | None
    detail: tuple[str, ...]

    def line(self, width: int) -> tuple[str, str, str, str]:
        """Return name, the done part of the bar, the rest of it, and figures: a line that fits `width` columns."""
        room = max(width - 1, 20)
        name = f"{self.stage:>9}  {_cut(self.target, max(8, min(28, room // 4)))}  "
        percent = "" if self.share is None else f" {min(self.share, 1):4.0%}"
        # What tells most stays longest: the time left, then the rate, then the amount, then what is worked on.
        kept = [at for at in (2, 1, 0, *range(3, len(self.detail))) if at < len(self.detail) and self.detail[at]]
        least = _LEAST_BAR if width > _NARROW else 0
        while kept and len(name) + least + len(percent) + sum(len(self.detail[at]) + 2 for at in kept) > room:
            kept.pop()
        told = percent + "".join(f"  {self.detail[at]}" for at in sorted(kept))
        size = min(_MOST_BAR, room - len(name) - len(told))
        size = size if size >= _LEAST_BAR else 0
        filled = round(size * min(self.share or 0, 1))
        return name, "━" * filled, "─" * (size - filled), told


def _cut(text: str, most: int) -> str:
    """Return a text of at most so many characters; the end of a path tells more than its begin."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _tensor_text(event: TensorDone, rate: str) -> str:
    parts = [f"{event.index} of {event.count}", event.tensor, rate]
    return ", ".join(part for part in parts if part)


_STYLES: dict[str, Style] = {"warning": "caution", "note": "hint"}


def _painted(line: str) -> str:
    """Return a line with its first word in a colour; all of one that says that nothing was done."""
    word, _, rest = line.lstrip().partition(" ")
    if "  cached" in line:
        return styled(line, "dim", sys.stderr)
    start = line[: len(line) - len(line.lstrip())]
    return start + styled(word, _STYLES.get(word, "good"), sys.stderr) + " " + printable(rest)


def _key_of(event: BytesFetched | BytesSent) -> Key:
    return ("fetch", f"{event.source}/{event.path}") if isinstance(event, BytesFetched) else ("push", event.path)


def _is_file_of(key: Key, stage: str, target: str) -> bool:
    return key[0] == stage == "fetch" and key[1].startswith(f"{target}/")


class ConsoleObserver:
    """Prints events; thread-safe, since targets are built in parallel."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._bars: Any = None
        self._tasks: dict[Key, Any] = {}
        self._arriving: dict[Key, Arrival] = {}
        self._treated: dict[Key, Arrival] = {}

    def __call__(self, event: Event) -> None:
        """Show one event; with `--quiet`, warnings only."""
        if verbosity() < 0 and not (isinstance(event, Notice) and event.warning):
            return
        with self._lock:
            match event:
                case BytesFetched() | BytesSent():
                    line = self._moved(event)
                case TensorDone():
                    line = self._tensor(event)
                case _:
                    line = self._line(event)
            if sys.stderr.isatty():
                self._show_bar(event)
            if line:
                self._print(line)

    def _print(self, line: str) -> None:
        line = _painted(line)
        if self._bars is not None:
            from rich.text import Text

            self._bars.console.print(Text.from_ansi(line), soft_wrap=True)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _line(self, event: Event) -> str:
        match event:
            case StageStarted(stage=stage, target=target, detail=detail, cached=True):
                return f"{stage:>9}  {target}  cached{f': {detail}' if detail else ''}"
            case StageFinished(stage=stage, target=target, detail=detail, seconds=seconds, cached=False):
                return f"{stage:>9}  {target}  {detail}{'  ' if detail else ''}{seconds:.1f} s"
            case Notice(text=text, warning=warning):
                return folded(f"{'warning' if warning else 'note':>9}  {text}", sys.stderr, 11)
            case _:
                return ""

    def _moved(self, event: BytesFetched | BytesSent) -> str:
        """Record bytes that arrived or were sent; without a terminal, return a line now and then."""
        key, now = _key_of(event), self._clock()
        known = self._arriving.get(key)
        if known is None or event.done < known.done:
            known = self._arriving[key] = Arrival(now, event.done, event.done, event.total, now)
        known.done, known.total = event.done, event.total
        if event.total is not None and event.done >= event.total:
            del self._arriving[key]
            return ""
        if sys.stderr.isatty() or now - known.shown < _LINE_SECONDS:
            return ""
        known.shown = now
        where = f"{event.source}  " if isinstance(event, BytesFetched) else ""
        return f"{key[0]:>9}  {where}{event.path}, {known.text(now)}"

    def _tensor(self, event: TensorDone) -> str:
        """Record the progress of a stage; without a terminal, return a line now and then."""
        key, now, done = (event.stage, event.target), self._clock(), event.done or 0
        known = self._treated.get(key)
        if known is None or event.index == 1 or done < known.done:
            known = self._treated[key] = Arrival(now, done, done, event.total, now)
        known.done, known.total = done, event.total
        text = _tensor_text(event, known.text(now) if event.total else "")
        if sys.stderr.isatty():
            share = done / event.total if event.total else event.index / max(event.count, 1)
            count = f"{event.index} of {event.count}"
            detail = known.parts(now) if event.total else (count, "", "")
            self._advance(key, share, (*detail, event.tensor))
        if event.index >= event.count:
            del self._treated[key]
            return ""
        if sys.stderr.isatty() or now - known.shown < _LINE_SECONDS:
            return ""
        known.shown = now
        return f"{event.stage:>9}  {event.target}  {text}"

    def _show_bar(self, event: Event) -> None:
        match event:
            case BytesFetched(done=done, total=total) | BytesSent(done=done, total=total):
                key, now = _key_of(event), self._clock()
                known = self._arriving.get(key)
                self._advance(key, done / total if total else None, known.parts(now) if known else ("", "", ""))
                self._show_total(now)
            case StageFinished(stage=stage, target=target):
                for key in [key for key in self._tasks if key == (stage, target) or _is_file_of(key, stage, target)]:
                    self._close(key)
            case WorkStopped():
                for key in list(self._tasks):
                    self._close(key)
            case _:
                pass

    def _show_total(self, now: float) -> None:
        """Show one more bar for the total of all files, if there are several."""
        files = list(self._arriving.values())
        if len(files) < 2 or any(item.total is None for item in files):  # noqa: PLR2004 - one file is its own total
            self._close(_TOTAL)
            return
        whole = Arrival(
            min(item.since for item in files),
            sum(item.first for item in files),
            sum(item.done for item in files),
            sum(item.total or 0 for item in files),
            now,
        )
        self._advance(_TOTAL, whole.done / (whole.total or 1), whole.parts(now))

    def _advance(self, key: Key, share: float | None, detail: tuple[str, ...]) -> None:
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
        shown = Shown(key[0], printable(key[1]), share, tuple(map(printable, detail)))
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task("", total=None, shown=shown)
        self._bars.update(self._tasks[key], shown=shown)
        if share is not None and share >= 1:
            self._close(key)

    def _close(self, key: Key) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._bars.remove_task(task)
        if self._bars is not None and not self._tasks:
            self._bars.stop()
            self._bars = None


def _new_bars() -> Any:  # noqa: ANN401 - rich is imported when there is something to show
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

    console = Console(stderr=True, no_color=not has_colors(sys.stderr), highlight=False)

    class Line(ProgressColumn):
        """The whole line."""

        max_refresh = 0.1

        def render(self, task: Any) -> Text:  # noqa: ANN401 - rich's
            name, filled, rest, told = task.fields["shown"].line(console.width)
            return Text.assemble(name, (filled, "green"), (rest, "dim"), told, no_wrap=True, overflow="crop")

    return Progress(Line(), console=console, transient=True)
