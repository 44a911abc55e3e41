"""Console output for users: progress bars on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from attrs import define

from lftool.api import BytesFetched, Notice, StageFinished, StageStarted, TensorDone, WorkStopped, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lftool.api import Event

_LINE_SECONDS = 10.0
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

    def text(self, now: float) -> str:
        """Return amount, rate and remaining time."""
        rate = (self.done - self.first) / max(now - self.since, 1e-3)
        parts = [amount(self.done) + (f" of {amount(self.total)}" if self.total else ""), f"{amount(rate)}/s"]
        if self.total and rate > 0:
            left = round((self.total - self.done) / rate)
            parts.append(f"{left // 60}:{left % 60:02} left")
        return ", ".join(parts)


def _tensor_text(event: TensorDone, rate: str) -> str:
    parts = [f"{event.index} of {event.count}", event.tensor, rate]
    return ", ".join(part for part in parts if part)


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
        """Show one event."""
        with self._lock:
            match event:
                case BytesFetched():
                    line = self._arrived(event)
                case TensorDone():
                    line = self._tensor(event)
                case _:
                    line = self._line(event)
            if sys.stderr.isatty():
                self._show_bar(event)
            if line:
                self._print(line)

    def _print(self, line: str) -> None:
        line = printable(line)
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False)
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
                return f"{'warning' if warning else 'note':>9}  {text}"
            case _:
                return ""

    def _arrived(self, event: BytesFetched) -> str:
        """Record arrived bytes; without a terminal, return a line now and then."""
        key, now = ("fetch", f"{event.source}/{event.path}"), self._clock()
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
        return f"{'fetch':>9}  {event.source}  {event.path}, {known.text(now)}"

    def _tensor(self, event: TensorDone) -> str:
        """Record the progress of a stage; without a terminal, return a line now and then."""
        key, now, done = (event.stage, event.target), self._clock(), event.done or 0
        known = self._treated.get(key)
        if known is None or event.index == 1 or done < known.done:
            known = self._treated[key] = Arrival(now, done, done, event.total, now)
        known.done, known.total = done, event.total
        text = _tensor_text(event, known.text(now) if event.total else "")
        if sys.stderr.isatty():
            self._advance(key, event.index, event.count, text)
        if event.index >= event.count:
            del self._treated[key]
            return ""
        if sys.stderr.isatty() or now - known.shown < _LINE_SECONDS:
            return ""
        known.shown = now
        return f"{event.stage:>9}  {event.target}  {text}"

    def _show_bar(self, event: Event) -> None:
        match event:
            case BytesFetched(source=source, path=path, done=done, total=total):
                key, now = ("fetch", f"{source}/{path}"), self._clock()
                known = self._arriving.get(key)
                self._advance(key, done, total, known.text(now) if known else "")
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
        self._advance(_TOTAL, whole.done, whole.total, whole.text(now))

    def _advance(self, key: Key, done: int, total: int | None, detail: str) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn("{task.fields[stage]:>9}  {task.fields[target]}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[detail]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        if key not in self._tasks:
            shown = {"stage": key[0], "target": printable(key[1]), "detail": printable(detail)}
            self._tasks[key] = self._bars.add_task("", total=total, **shown)
        self._bars.update(self._tasks[key], completed=done, total=total, detail=printable(detail))
        if total is not None and done >= total:
            self._close(key)

    def _close(self, key: Key) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._bars.remove_task(task)
        if self._bars is not None and not self._tasks:
            self._bars.stop()
            self._bars = None
