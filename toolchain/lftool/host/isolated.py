"""Run plugin code in a child process with a cleared environment; return its results, progress and errors."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lftool.api import (
    HOOKS,
    Arithmetic,
    BackendType,
    DeriveRequest,
    DeriveResult,
    Device,
    EmbeddingFigures,
    Figures,
    InputFile,
    LoadReport,
    LoadRequest,
    Notice,
    Probe,
    QualityFigures,
    QualityRequest,
    QuantizerType,
    TensorType,
    TransformPlan,
    TransformSpec,
)
from lftool.codec.options import canonical_options
from lftool.errors import PluginError, StorageError
from lftool.host.calls import Call, Watch
from lftool.host.confinement import for_inputs
from lftool.host.wire import (
    Task,
    decode_derive_result,
    decode_plan,
    encode_derive_request,
    encode_inputs,
    encode_spec,
)
from lftool.host.workers import WorkerRules, Workers
from lftool.models.digest import Artifact, Digest
from lftool.store.durable import scratch_directory

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from io import FileIO

    from lftool.api import RuntimeType, TransformType
    from lftool.host.registry import Registered


PROBE_SECONDS = 30.0
_FULL_BYTES = 1024 * 1024  # a disk with less space left counts as full
_MOST_NAMED = 3


def _files(inputs: Mapping[str, InputFile]) -> dict[str, Path]:
    return {f"the {role}" if role in {"weights", "imatrix"} else role: item.path for role, item in inputs.items()}


def _archive(spec: TransformSpec) -> dict[str, Path]:
    return {} if spec.archive is None else {"the archive of the tool": spec.archive}


def _run_arguments(
    spec: TransformSpec, options: dict[str, Any], inputs: dict[str, InputFile], output: Path, threads: int
) -> dict[str, Any]:
    return {
        "spec": encode_spec(spec, options),
        "inputs": encode_inputs(inputs),
        "output": str(output),
        "threads": threads,
        "archive": None if spec.archive is None else str(spec.archive),
    }


def _artifact(path: Path) -> Artifact:
    with path.open("rb") as file:
        return Artifact(Digest(hashlib.file_digest(file, "sha256").hexdigest()), path.stat().st_size)


def _on_gpu(registered: Registered[Any]) -> bool:
    """Return whether a plugin's object uses a GPU: an accelerator, or a backend other than the processor's."""
    record = registered.record
    if isinstance(record, QuantizerType):
        return record.backend not in {None, "cpu"}
    return isinstance(record, BackendType) and record.name != "cpu"


@attrs.frozen
class Deriving:
    """A `Deriver` in a worker. Methods raise whatever the plugin raises; a PluginError if it died."""

    _ask: Callable[..., Any]

    def arithmetics(self, types: Sequence[str], *, importance: bool) -> tuple[Arithmetic, ...]:
        """Return the arithmetics that it knows for some types."""
        found = self._ask("arithmetics", {"types": list(types), "importance": importance}, None)
        return tuple(Arithmetic(**item) for item in found)

    def derive(self, request: DeriveRequest, threads: int) -> DeriveResult:
        """Compare a tensor with what a base's tensor becomes."""
        arguments = {"request": encode_derive_request(request), "threads": threads}
        return decode_derive_result(self._ask("derive", arguments, None))

    def derived_header(self, base: Path, types: Sequence[TensorType], file_type: int) -> Artifact:
        """Return digest and size of the header that the quantizer would write."""
        plain = [[item.tensor, item.type] for item in types]
        found = self._ask("derived_header", {"base": str(base), "types": plain, "file_type": file_type}, None)
        return Artifact(Digest(found["sha256"]), found["size"])


class Isolated:
    """Calls plugin objects in child processes; their scratch folders are under `temporary`."""

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
    ) -> Call:
        """Return a call whose worker is confined to its inputs and outputs.

        Args:
            registered: The record whose object is called.
            method: The method to call.
            reads: Name of each input in messages, to its file.
            writes: The files and folders that it writes.
            gpu: Whether it uses a GPU.
        """
        idle = self._rules.idle_seconds
        inputs = ", ".join([*list(reads)[:_MOST_NAMED], *(["…"] if len(reads) > _MOST_NAMED else [])])
        if not self._rules.confine:
            return Call(registered=registered, method=method, inputs=inputs, idle_seconds=idle)
        size = 0
        for path in reads.values():
            with contextlib.suppress(OSError):
                size += path.stat().st_size
        found = for_inputs(registered.origin.module, map(str, reads.values()), map(str, writes), size, gpu=gpu)
        return Call(registered=registered, method=method, inputs=inputs, confinement=found, idle_seconds=idle)

    def _call(
        self,
        call: Call,
        arguments: dict[str, Any],
        progress: Callable[[str, int, int], None] | None = None,
        handed: Sequence[FileIO] = (),
    ) -> Any:  # noqa: ANN401 - plain data
        with self._asking(call, handed) as ask:
            return ask(call.method, arguments, progress)

    @contextlib.contextmanager
    def _asking(self, call: Call, handed: Sequence[FileIO] = ()) -> Iterator[Callable[..., Any]]:
        """Start a worker; yield what calls a method with arguments, several times if need be, and returns its result."""
        registered, confinement = call.registered, call.confinement
        hook = next(name for name, kind in HOOKS.items() if type(registered.record) is kind)
        with (
            scratch_directory(self._temporary) as scratch,
            self._workers.start(scratch, handed) as process,
            Watch(call, process, self._rules) as watch,
        ):
            if confinement is not None:
                confinement = attrs.evolve(confinement, writes=(*confinement.writes, str(scratch)))

            def ask(
                method: str, arguments: dict[str, Any], progress: Callable[[str, int, int], None] | None = None
            ) -> Any:  # noqa: ANN401 - plain data
                task = Task(
                    module=registered.origin.module,
                    kind=hook,
                    name=registered.record.key,
                    method=method,
                    arguments=arguments,
                    confinement=None if confinement is None else confinement.plain(),
                    site=registered.origin.site,
                )
                watch.call = attrs.evolve(call, method=method)
                return self._answer(process, task, watch, scratch, progress)

            yield ask

    def _answer(
        self,
        process: subprocess.Popen[str],
        task: Task,
        watch: Watch,
        scratch: Path,
        progress: Callable[[str, int, int], None] | None,
    ) -> Any:  # noqa: ANN401 - plain data
        """Hand a task to a worker and return its result."""
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        call = watch.call
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
                raise self._full(call) or call.error(message)
        if watch.late == "idle":
            raise call.stopped("time")
        if watch.late:
            raise PluginError(f"{call.registered.origin}: {call.method} did not end within {call.seconds:g} seconds")
        raise self._full(call) or call.died(process, scratch)

    def _full(self, call: Call) -> StorageError | None:
        """Return the error for a full disk, if it is full; libraries report that in their own words or not at all."""
        left = os.statvfs(self._temporary)
        if left.f_bavail * left.f_frsize >= _FULL_BYTES:
            return None
        return StorageError(
            f"the disk is full: {call.registered.origin} ran out of space in {self._temporary}",
            hints=("free some space on that disk: `lftool cache gc` shrinks the cache, and XDG_CACHE_HOME moves it",),
        )

    def _options(self, registered: Registered[BackendType]) -> dict[str, Any]:
        """Return the user's options for a backend."""
        return canonical_options(self._rules.backends.get(registered.record.name, {}))

    def run_fixed(
        self,
        registered: Registered[TransformType],
        use: str,
        spec: TransformSpec,
        options: dict[str, Any],
        folder: Path,
        output: Path,
        threads: int,
        complete: Callable[[TransformSpec, dict[str, InputFile]], TransformSpec],
    ) -> None:
        """Let a transform write its fixed input for `use`, and its output for that, in one process.

        Args:
            registered: The transform.
            use: What the input is for.
            spec: What to make of it.
            options: As written in the recipe.
            folder: Where to write the input.
            output: Where to write the output.
            threads: Number of threads.
            complete: Adds to the spec what follows from the input.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died.
        """
        if not output.exists():
            output.touch()  # as in `run`
        call = self._bounded(registered, "run", reads=_archive(spec), writes=[folder, output], gpu=_on_gpu(registered))
        with self._asking(call) as ask:
            found = ask("probe_inputs", {"use": use, "folder": str(folder)})
            inputs = {role: InputFile(path=Path(path), artifact=_artifact(Path(path))) for role, path in found.items()}
            ask("run", _run_arguments(complete(spec, inputs), options, inputs, output, threads))

    def probe_inputs(self, registered: Registered[TransformType], use: str, folder: Path) -> dict[str, Path]:
        """Let a transform write its fixed input for `use` to a folder, and return role to file.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died.
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
        """Let a transform make its plan.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died.
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
        """Let a transform write its output.

        Args:
            registered: The transform.
            spec: What to make.
            options: As written in the recipe.
            inputs: Role to file.
            output: Where to write.
            threads: Number of threads.
            progress: Called as progress(tensor, index, count).
            handed: Pipe ends that its paths name (`/dev/fd/N`); closed here once the child has started.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died.
        """
        if not output.exists():
            output.touch()  # write access can only be granted for an existing file
        reads = {**_files(inputs), **_archive(spec)}
        call = self._bounded(registered, "run", reads=reads, writes=[output], gpu=_on_gpu(registered))
        self._call(call, _run_arguments(spec, options, inputs, output, threads), progress, handed=handed)

    @contextlib.contextmanager
    def deriving(self, registered: Registered[QuantizerType], reads: Mapping[str, Path]) -> Iterator[Deriving]:
        """Yield a `Deriver` in one worker, which may be asked several times.

        Args:
            registered: The quantizer.
            reads: Name of each file or folder that it reads, to its path.
        """
        call = self._bounded(registered, "derive", reads=reads, gpu=_on_gpu(registered))
        with self._asking(call) as ask:
            yield Deriving(ask)

    def measure(
        self,
        registered: Registered[BackendType],
        requests: Sequence[QualityRequest],
        progress: Callable[[str, int, int], None],
    ) -> list[Figures]:
        """Let a backend measure how well weights predict a text; the requests differ in nothing but the weights.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died, or returned figures of other weights.
        """
        request = requests[0]
        plain = [
            {key: str(value) if isinstance(value, Path) else value for key, value in attrs.asdict(item).items()}
            for item in requests
        ]
        reads = {
            **{f"the weights{number}": item.weights for number, item in zip(_numbers(requests), requests, strict=True)},
            "the unquantised weights": request.reference,
            request.text_name: request.text,
        }
        call = self._bounded(registered, "measure", reads=reads, gpu=_on_gpu(registered))
        found = self._call(call, {"requests": plain, "options": self._options(registered)}, progress)
        if len(found) != len(requests):
            raise PluginError(
                f"{registered.origin}: measure_several() returned {len(found)} figures for {len(requests)}"
            )
        return [EmbeddingFigures(**item) if "texts" in item else QualityFigures(**item) for item in found]

    def load(self, registered: Registered[BackendType], request: LoadRequest) -> LoadReport:
        """Let a backend load a model without its data.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died.
        """
        call = self._bounded(registered, "load", reads={"the weights": request.weights})
        arguments = {"weights": str(request.weights), "context": request.context, "options": self._options(registered)}
        return LoadReport(**self._call(call, arguments))

    def compile(
        self,
        registered: Registered[RuntimeType],
        archive: Path,
        output: Path,
        threads: int,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Let a compiled runtime write its executable.

        Raises:
            LftoolError: Whatever the plugin raised; a PluginError if it died.
        """
        arguments = {"archive": str(archive), "output": str(output), "threads": threads}
        self._call(Call(registered=registered, method="compile"), arguments, progress)

    def probe_backend(self, registered: Registered[BackendType]) -> Probe:
        """Let a backend probe this machine, within a time limit.

        Raises:
            PluginError: It failed or died, as drivers do.
        """
        call = Call(registered=registered, method="probe", seconds=PROBE_SECONDS)
        found = self._call(call, {"options": self._options(registered)})
        return Probe(**{**found, "devices": tuple(Device(**device) for device in found["devices"])})


def _numbers(items: Sequence[object]) -> list[str]:
    """Return what tells several things of the same name apart; nothing for one."""
    return [""] if len(items) == 1 else [f" {number}" for number in range(1, len(items) + 1)]
