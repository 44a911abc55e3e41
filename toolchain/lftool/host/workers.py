"""Child processes that run plugin code: how they start and end, and their limits."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import Factory, frozen

from lftool.api import Notice

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from io import FileIO
    from pathlib import Path

# The whole environment of a child: nothing in the user's environment can change a byte.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_KEPT = ("PATH", "SYSTEMROOT", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", *_DEVICES)


@frozen(kw_only=True)
class WorkerRules:
    """The limits of workers.

    Attributes:
        confine: Whether to confine workers that parse or execute model files.
        idle_seconds: Seconds without progress after which a worker is ended.
        waiting_seconds: Seconds after which a message says that lftool is waiting.
        notify: Receives messages about waiting, and warnings from transforms.
        backends: Name of a backend to its options in the user's configuration.
    """

    confine: bool = True
    idle_seconds: float = 600.0
    waiting_seconds: float = 60.0
    notify: Callable[[Notice], None] = lambda _: None
    backends: Mapping[str, Mapping[str, Any]] = Factory(dict)


class Workers:
    """The running child processes, so that an interrupt can end them all."""

    def __init__(self) -> None:
        self._alive: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def stop(self) -> None:
        """End all children now, and refuse new ones."""
        with self._lock:
            self._closed = True
            for process in self._alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def start(self, scratch: Path, handed: Sequence[FileIO] = ()) -> Iterator[subprocess.Popen[str]]:
        """Start a worker that works in `scratch`; it is gone after the block.

        Args:
            scratch: An empty folder.
            handed: Pipe ends that the worker inherits under the same numbers; closed here.
        """
        import subprocess  # noqa: PLC0415 - a finished build starts none

        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        environment |= {**_ENVIRONMENT, "HOME": str(scratch), "TMPDIR": str(scratch)}
        with self._lock, (scratch / "stderr").open("wb") as stderr:
            if self._closed:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "lftool.host.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
                cwd=scratch,
                start_new_session=True,
                pass_fds=[end.fileno() for end in handed],
            )
            self._alive.add(process)
            for end in handed:
                end.close()
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            with self._lock:
                self._alive.discard(process)
