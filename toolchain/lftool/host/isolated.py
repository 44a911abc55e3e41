"""Run plugin code in a child process with a cleared environment, and bring back results, progress and errors."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
from attrs import frozen

from lftool import errors
from lftool.api import (
    HOOKS,
    BackendType,
    Device,
    InputFile,
    Notice,
    Probe,
    QualityFigures,
    QualityRequest,
    QuantizerType,
    TransformPlan,
    TransformSpec,
)
from lftool.errors import FormatError, LftoolError, PluginError
from lftool.host.confinement import Confinement, for_inputs
from lftool.host.registry import Registered
from lftool.host.wire import Task, decode_plan, encode_inputs, encode_spec
from lftool.store.durable import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import FileIO

    from lftool.api import RuntimeType, TransformType


# All that a child sees: nothing of the user's environment can change a byte.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_KEPT = ("PATH", "SYSTEMROOT", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", *_DEVICES)
_TAIL_LINES = 12
PROBE_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_MOST_NAMED = 3
# What C++, NumPy, torch and the dynamic linker say of an allocation that failed.
_NO_MEMORY = re.compile(
    r"bad_alloc|Cannot allocate memory|cannot allocate|DefaultCPUAllocator|MemoryError|out of memory"
)


@frozen(kw_only=True)
class WorkerRules:
    """What bounds workers.

    Attributes:
        confine: Whether those that parse or execute model files are confined.
        idle_seconds: After how many seconds without progress a worker is ended.
        waiting_seconds: After how many it is said that it is waited for.
        notify: Told who is waited for, and of what transforms warn.
    """

    confine: bool = True
    idle_seconds: float = 600.0
    waiting_seconds: float = 60.0
    notify: Callable[[Notice], None] = lambda _: None


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


@frozen(kw_only=True)
class _Call:
    """One call: what is called, on what inputs, within which bounds.

    Attributes:
        inputs: What messages call the inputs.
        confinement: None where the worker is not confined.
        seconds: How long it may take in all; None for any time.
        idle_seconds: How long it may be without progress; None for any time.
    """

    registered: Registered[Any]
    method: str
    inputs: str = ""
    confinement: Confinement | None = None
    seconds: float | None = None
    idle_seconds: float | None = None

    def stopped(self, limit: str) -> FormatError:
        """Return the error for a worker that a limit has stopped: what it was given needs more than it may."""
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
        """Return the error for a worker that has ended without a word."""
        printed = (scratch / "stderr").read_text(errors="replace")
        code = process.wait()
        if code == -signal.SIGXFSZ:
            return self.stopped("file size")
        if self.confinement is not None and _NO_MEMORY.search(printed):
            return self.stopped("memory")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        first = f"{self.registered.origin} died in {self.method} ({how}); the last it printed:"
        return PluginError("\n".join([first, *printed.splitlines()[-_TAIL_LINES:]]))


class _Watch:
    """Ends a worker that takes too long, or makes no progress; says meanwhile who is waited for."""

    def __init__(self, call: _Call, process: subprocess.Popen[str], rules: WorkerRules) -> None:
        self._call = call
        self._process = process
        self._rules = rules
        self._begun = self._seen = time.monotonic()
        self._ended = threading.Event()
        self.late = ""
        self._thread = threading.Thread(target=self._look, daemon=True)

    def progress(self) -> None:
        """The worker has made progress."""
        self._seen = time.monotonic()

    def _kill(self, why: str) -> None:
        self.late = why
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _look(self) -> None:
        said = 0.0
        while not self._ended.wait(min(_LOOK_SECONDS, self._call.seconds or _LOOK_SECONDS)):
            now = time.monotonic()
            idle = now - self._seen
            if self._call.seconds is not None and now - self._begun > self._call.seconds:
                self._kill("seconds")
                return
            if self._call.idle_seconds is None:
                continue
            if idle > self._call.idle_seconds:
                self._kill("idle")
                return
            if idle < self._rules.waiting_seconds:
                said = 0.0
            elif idle - said >= self._rules.waiting_seconds:
                said = idle
                what = f"{self._call.registered.origin}, {self._call.method}"
                self._rules.notify(Notice(text=f"waiting for {what}: no progress for {idle:.0f} s"))

    def __enter__(self) -> Self:
        if self._call.seconds is not None or self._call.idle_seconds is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()


def _files(inputs: Mapping[str, InputFile]) -> dict[str, Path]:
    return {f"the {role}" if role in {"weights", "imatrix"} else role: item.path for role, item in inputs.items()}


def _on_gpu(registered: Registered[Any]) -> bool:
    """Tell whether a plugin's object works on a GPU: an accelerator of a quantizer, or a backend other than the processor's."""
    record = registered.record
    if isinstance(record, QuantizerType):
        return record.backend not in {None, "cpu"}
    return isinstance(record, BackendType) and record.name != "cpu"


class Isolated:
    """Calls plugin objects in child processes; scratch folders lie under `temporary`."""

    def __init__(self, temporary: Path, workers: Workers, rules: WorkerRules | None = None) -> None:
        self._temporary = temporary
        self._workers = workers
        self._rules = rules or WorkerRules()

    def _bounded(
        self,
        registered: Registered[Any],
        method: str,
        *,
        reads: Mapping[str, Path],
        writes: Sequence[Path] = (),
        gpu: bool = False,
    ) -> _Call:
        """Return a call whose worker is confined to its inputs and outputs.

        Args:
            registered: Whose object is called.
            method: Which method.
            reads: What messages call an input, to its file.
            writes: What it writes.
            gpu: Whether it works on a GPU.
        """
        idle = self._rules.idle_seconds
        inputs = ", ".join([*list(reads)[:_MOST_NAMED], *(["…"] if len(reads) > _MOST_NAMED else [])])
        if not self._rules.confine:
            return _Call(registered=registered, method=method, inputs=inputs, idle_seconds=idle)
        size = 0
        for path in reads.values():
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        found = for_inputs(map(str, reads.values()), map(str, writes), size, gpu=gpu)
        return _Call(registered=registered, method=method, inputs=inputs, confinement=found, idle_seconds=idle)

    def _call(
        self,
        call: _Call,
        arguments: dict[str, Any],
        progress: Callable[[str, int, int], None] | None = None,
        handed: Sequence[FileIO] = (),
    ) -> Any:  # noqa: ANN401 - plain data
        registered, confinement = call.registered, call.confinement
        hook = next(name for name, kind in HOOKS.items() if type(registered.record) is kind)
        with (
            scratch_directory(self._temporary) as scratch,
            self._workers.start(scratch, handed) as process,
            _Watch(call, process, self._rules) as watch,
        ):
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101
            if confinement is not None:
                confinement = attrs.evolve(confinement, writes=(*confinement.writes, str(scratch)))
            task = Task(
                module=registered.origin.module,
                kind=hook,
                name=registered.record.key,
                method=call.method,
                arguments=arguments,
                confinement=None if confinement is None else confinement.plain(),
            )
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(attrs.asdict(task)) + "\n")
                process.stdin.flush()
            for line in process.stdout:
                message = json.loads(line)
                watch.progress()
                if message["kind"] == "progress":
                    if progress:
                        progress(message["tensor"], message["index"], message["count"])
                elif message["kind"] == "notice":
                    self._rules.notify(Notice(text=message["text"], warning=True))
                elif message["kind"] == "result":
                    return message["value"]
                else:
                    raise call.error(message)
            if watch.late == "idle":
                raise call.stopped("time")
            if watch.late:
                raise PluginError(f"{registered.origin}: {call.method} did not end within {call.seconds:g} seconds")
            raise call.died(process, scratch)

    def probe_inputs(self, registered: Registered[TransformType], use: str, folder: Path) -> dict[str, Path]:
        """Have a transform write its fixed input for `use` to a folder, and return role to file.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        call = self._bounded(registered, "probe_inputs", reads={}, writes=[folder], gpu=_on_gpu(registered))
        found = self._call(call, {"use": use, "folder": str(folder)})
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
        call = self._bounded(registered, "plan", reads=_files(inputs), gpu=_on_gpu(registered))
        return decode_plan(self._call(call, arguments))

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
        if not output.exists():
            output.touch()  # a right to write can be given for what is there only
        reads = {**_files(inputs), **({} if spec.archive is None else {"the archive of the tool": spec.archive})}
        call = self._bounded(registered, "run", reads=reads, writes=[output], gpu=_on_gpu(registered))
        self._call(call, arguments, progress, handed=handed)

    def measure(
        self, registered: Registered[BackendType], request: QualityRequest, progress: Callable[[str, int, int], None]
    ) -> QualityFigures:
        """Have a backend measure how well weights predict a text.

        Raises:
            LftoolError: What the plugin raised, or PluginError when it died.
        """
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in attrs.asdict(request).items()}
        reads = {
            "the weights": request.weights,
            "the unquantised weights": request.reference,
            request.text_name: request.text,
        }
        call = self._bounded(registered, "measure", reads=reads, gpu=_on_gpu(registered))
        return QualityFigures(**self._call(call, {"request": plain}, progress))

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
        self._call(_Call(registered=registered, method="compile"), arguments, progress)

    def probe_backend(self, registered: Registered[BackendType]) -> Probe:
        """Have a backend look at this machine, within a time limit.

        Raises:
            PluginError: It failed or died; drivers do.
        """
        found = self._call(_Call(registered=registered, method="probe", seconds=PROBE_SECONDS), {})
        return Probe(**{**found, "devices": tuple(Device(**device) for device in found["devices"])})
