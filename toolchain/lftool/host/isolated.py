"""Run plugin code in a child process with a cleared environment, and bring back results, progress and errors."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lftool import errors
from lftool.api import HOOKS, Device, InputFile, Probe, QualityFigures, QualityRequest, TransformPlan, TransformSpec
from lftool.errors import LftoolError, PluginError
from lftool.host.wire import Task, decode_plan, encode_inputs, encode_spec
from lftool.store.durable import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO

    from lftool.api import BackendType, RuntimeType, TransformType
    from lftool.host.registry import Registered


# All that a child sees: nothing of the user's environment can change a byte.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_KEPT = ("PATH", "SYSTEMROOT", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", *_DEVICES)
_TAIL_LINES = 12
PROBE_SECONDS = 30.0


class Workers:
    """Child processes that are alive, so that an interrupt can end them all."""

    def __init__(self) -> None:
        self._alive: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def stop(self) -> None:
        """End every child now, and refuse new ones."""
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
            handed: Ends of pipes that become the worker's, under the same numbers, and are closed here.
        """
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


def _error(message: dict[str, Any], registered: Registered[Any]) -> LftoolError:
    if message["kind"] == "error":
        cls = getattr(errors, message["code"], PluginError)
        made: LftoolError = cls(message["message"], hints=tuple(message["hints"]))
        return made
    failure = PluginError(f"{registered.origin} failed: {message['message']}")
    failure.add_note(message["trace"])
    return failure


def _died(process: subprocess.Popen[str], scratch: Path, registered: Registered[Any], method: str) -> PluginError:
    tail = (scratch / "stderr").read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    code = process.wait()
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return PluginError("\n".join([f"{registered.origin} died in {method} ({how}); the last it printed:", *tail]))


class Isolated:
    """Calls plugin objects in child processes; scratch folders lie under `temporary`."""

    def __init__(self, temporary: Path, workers: Workers) -> None:
        self._temporary = temporary
        self._workers = workers

    def _call(
        self,
        registered: Registered[Any],
        method: str,
        arguments: dict[str, Any],
        progress: Callable[[str, int, int], None] | None = None,
        seconds: float | None = None,
        handed: Sequence[FileIO] = (),
    ) -> Any:  # noqa: ANN401 - plain data
        hook = next(name for name, kind in HOOKS.items() if type(registered.record) is kind)
        task = Task(
            module=registered.origin.module, kind=hook, name=registered.record.key, method=method, arguments=arguments
        )
        with (
            scratch_directory(self._temporary) as scratch,
            self._workers.start(scratch, handed) as process,
        ):
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101
            late = threading.Event()

            def give_up() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(seconds, give_up) if seconds else None
            if timer:
                timer.start()
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(attrs.asdict(task)) + "\n")
                    process.stdin.flush()
                for line in process.stdout:
                    message = json.loads(line)
                    if message["kind"] == "progress":
                        if progress:
                            progress(message["tensor"], message["index"], message["count"])
                    elif message["kind"] == "result":
                        return message["value"]
                    else:
                        raise _error(message, registered)
            finally:
                if timer:
                    timer.cancel()
            if late.is_set():
                raise PluginError(f"{registered.origin}: {method} did not end within {seconds:g} seconds")
            raise _died(process, scratch, registered, method)

    def probe_inputs(self, registered: Registered[TransformType], use: str, folder: Path) -> dict[str, Path]:
        """Have a transform write its fixed input for `use` to a folder, and return role to file.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        found = self._call(registered, "probe_inputs", {"use": use, "folder": str(folder)})
        return {role: Path(path) for role, path in found.items()}

    def plan(
        self,
        registered: Registered[TransformType],
        spec: TransformSpec,
        options: dict[str, Any],
        inputs: dict[str, InputFile],
    ) -> TransformPlan:
        """Have a transform plan.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        arguments = {"spec": encode_spec(spec, options), "inputs": encode_inputs(inputs)}
        return decode_plan(self._call(registered, "plan", arguments))

    def run(
        self,
        registered: Registered[TransformType],
        spec: TransformSpec,
        options: dict[str, Any],
        inputs: dict[str, InputFile],
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
        handed: Sequence[FileIO] = (),
    ) -> None:
        """Have a transform write its output.

        Args:
            registered: The transform.
            spec: What to make.
            options: As the recipe wrote them.
            inputs: Role to file.
            output: Where to write.
            threads: How many threads to use.
            progress: Called as progress(tensor, index, count).
            handed: Ends of the pipes among its paths (`/dev/fd/N`); they are closed here once it has started.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        arguments = {
            "spec": encode_spec(spec, options),
            "inputs": encode_inputs(inputs),
            "output": str(output),
            "threads": threads,
            "archive": None if spec.archive is None else str(spec.archive),
        }
        self._call(registered, "run", arguments, progress, handed=handed)

    def measure(
        self, registered: Registered[BackendType], request: QualityRequest, progress: Callable[[str, int, int], None]
    ) -> QualityFigures:
        """Have a backend measure how well weights predict a text.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in attrs.asdict(request).items()}
        return QualityFigures(**self._call(registered, "measure", {"request": plain}, progress))

    def compile(
        self,
        registered: Registered[RuntimeType],
        archive: Path,
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Have a compiled runtime write its executable.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        arguments = {"archive": str(archive), "output": str(output), "threads": threads}
        self._call(registered, "compile", arguments, progress)

    def probe_backend(self, registered: Registered[BackendType]) -> Probe:
        """Have a backend look at this machine, within a time limit.

        Raises:
            PluginError: It failed or died; drivers do.
        """
        found = self._call(registered, "probe", {}, seconds=PROBE_SECONDS)
        return Probe(**{**found, "devices": tuple(Device(**device) for device in found["devices"])})
