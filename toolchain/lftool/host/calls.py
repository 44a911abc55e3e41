"""One call of a plugin's object in a worker: its limits, the watch over it, and its error messages."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from lftool import errors
from lftool.api import Notice
from lftool.errors import FormatError, LftoolError, PluginError
from lftool.host.confinement import Confinement
from lftool.host.registry import Registered

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from lftool.host.workers import WorkerRules

_TAIL_LINES = 12
_LOOK_SECONDS = 0.5
# Messages of C++, NumPy, torch and the dynamic linker about a failed allocation.
_NO_MEMORY = re.compile(
    r"bad_alloc|Cannot allocate memory|cannot allocate|DefaultCPUAllocator|MemoryError|out of memory"
)


@frozen(kw_only=True)
class Call:
    """One call: the method, its inputs, and its limits.

    Attributes:
        inputs: The inputs' name in messages.
        confinement: None if the worker is not confined.
        seconds: Time limit in seconds; None for no limit.
        idle_seconds: Time limit without progress, in seconds; None for no limit.
    """

    registered: Registered[Any]
    method: str
    inputs: str = ""
    confinement: Confinement | None = None
    seconds: float | None = None
    idle_seconds: float | None = None

    def stopped(self, limit: str) -> FormatError:
        """Return the error for a worker stopped by a limit: its inputs need more than is allowed."""
        bounds = self.confinement or Confinement()
        most = {
            "memory": f"{(bounds.data_bytes or 0) / 1e9:.1f} GB of memory",
            "file size": f"a file of {(bounds.file_bytes or 0) / 1e9:.1f} GB",
            "time": f"{self.idle_seconds or 0:g} seconds without progress",
        }[limit]
        on = f" on {self.inputs}" if self.inputs else ""
        return FormatError(
            f"{self.registered.origin}: {self.method}{on} was stopped at its limit: {most}",
            hints=("limits follow from the size of the inputs; a sound model does not reach them",)
            if limit != "time"
            else ("a slow machine may need longer: [plugins] idle-seconds in your config.toml",),
        )

    def error(self, message: dict[str, Any]) -> LftoolError:
        """Return the error that a worker reports."""
        if message["kind"] == "limit":
            return self.stopped(message["limit"])
        if message["kind"] == "error":
            cls = getattr(errors, message["code"], PluginError)
            made: LftoolError = cls(message["message"], hints=tuple(message["hints"]))
            return made
        failure = PluginError(f"{self.registered.origin} failed: {message['message']}")
        failure.add_note(message["trace"])
        return failure

    def died(self, process: subprocess.Popen[str], scratch: Path) -> LftoolError:
        """Return the error for a worker that ended without a report."""
        printed = (scratch / "stderr").read_text(errors="replace")
        code = process.wait()
        if code == -signal.SIGXFSZ:
            return self.stopped("file size")
        if self.confinement is not None and _NO_MEMORY.search(printed):
            return self.stopped("memory")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        first = f"{self.registered.origin} died in {self.method} ({how}); its last output:"
        return PluginError("\n".join([first, *printed.splitlines()[-_TAIL_LINES:]]))


class Watch:
    """Ends a worker that takes too long or makes no progress; meanwhile reports what is being waited for.

    Attributes:
        call: The call of now.
        late: Why the worker was ended: "idle", "seconds", or "".
    """

    def __init__(self, call: Call, process: subprocess.Popen[str], rules: WorkerRules) -> None:
        self.call = call
        self._process = process
        self._rules = rules
        self._begun = self._seen = time.monotonic()
        self._ended = threading.Event()
        self.late = ""
        self._thread = threading.Thread(target=self._look, daemon=True)

    def progress(self) -> None:
        """Record that the worker has made progress."""
        self._seen = time.monotonic()

    def _kill(self, why: str) -> None:
        self.late = why
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _look(self) -> None:
        said = 0.0
        while not self._ended.wait(min(_LOOK_SECONDS, self.call.seconds or _LOOK_SECONDS)):
            now = time.monotonic()
            idle = now - self._seen
            if self.call.seconds is not None and now - self._begun > self.call.seconds:
                self._kill("seconds")
                return
            if self.call.idle_seconds is None:
                continue
            if idle > self.call.idle_seconds:
                self._kill("idle")
                return
            if idle < self._rules.waiting_seconds:
                said = 0.0
            elif idle - said >= self._rules.waiting_seconds:
                said = idle
                what = f"{self.call.registered.origin}, {self.call.method}"
                self._rules.notify(Notice(text=f"waiting for {what}: no progress for {idle:.0f} s"))

    def __enter__(self) -> Self:
        if self.call.seconds is not None or self.call.idle_seconds is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
