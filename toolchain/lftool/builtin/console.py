"""What a person sees: progress bars on a terminal, one plain line per stage elsewhere; always on standard error."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from lftool.api import BytesFetched, Notice, StageFinished, StageStarted, TensorDone

if TYPE_CHECKING:
    from lftool.api import Event

_MEBIBYTE = 1024 * 1024


class ConsoleObserver:
    """Prints events; thread-safe, since targets are built in parallel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Any = None
        self._tasks: dict[tuple[str, str], Any] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        with self._lock:
            if sys.stderr.isatty():
                self._show_bar(event)
            line = self._line(event)
            if line:
                self._print(line)

    def _print(self, line: str) -> None:
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _line(self, event: Event) -> str:
        match event:
            case StageStarted(stage=stage, target=target, detail=detail, cached=True):
                return f"{stage:>9}  {target}  cached{f': {detail}' if detail else ''}"
            case StageFinished(stage=stage, target=target, detail=detail, seconds=seconds):
                return f"{stage:>9}  {target}  {detail}{'  ' if detail else ''}{seconds:.1f} s"
            case Notice(text=text, warning=warning):
                return f"{'warning' if warning else 'note':>9}  {text}"
            case _:
                return ""

    def _show_bar(self, event: Event) -> None:
        match event:
            case BytesFetched(source=source, path=path, done=done, total=total):
                self._advance(("fetch", f"{source}/{path}"), done / _MEBIBYTE, total / _MEBIBYTE, "MiB")
            case TensorDone(target=target, tensor=tensor, index=index, count=count):
                self._advance(("quantize", target), index, count, tensor)
            case StageFinished(stage=stage, target=target):
                self._close((stage, target))
            case _:
                pass

    def _advance(self, key: tuple[str, str], done: float, total: float, detail: str) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.fields[stage]:>9}  {task.fields[target]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task("", total=round(total), stage=key[0], target=key[1], detail=detail)
        self._bars.update(self._tasks[key], completed=round(done), detail=detail)
        if done >= total:
            self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._bars.remove_task(task)
        if self._bars is not None and not self._tasks:
            self._bars.stop()
            self._bars = None
