"""convert and quantize in one go: weights pass through pipes to the quantizers and a hash, and are stored nowhere.

The converter writes into one pipe; every piece is hashed and handed to each quantizer. Quantizers start when the header
has passed: it says which tensors there will be.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import define, frozen

from lftool.api import GGUFTensor, InputFile, TransformPlan, TransformSpec
from lftool.errors import FormatError
from lftool.formats.fallbacks import outcome
from lftool.formats.gguf import read_gguf
from lftool.models.digest import Artifact, Digest
from lftool.pipeline.headers import remember_header, skeleton
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.ports import Ports
from lftool.pipeline.progress import tensor_progress
from lftool.pipeline.stages.convert import ROLE
from lftool.pipeline.stages.quantize import check_output
from lftool.pipeline.tasks import Conversion
from lftool.pipeline.tools import Tool, input_files, spec_to_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import GGUFHeader

_PIECE = 1 << 20
_MOST_CONSUMERS = 4


def most_consumers(ports: Ports) -> int:
    """Return how many quantisations one pass may serve: each has a process and buffers of its own."""
    return max(_MOST_CONSUMERS, ports.threads)


@frozen(kw_only=True)
class Consumer:
    """A quantize stage that reads weights while they are made.

    Attributes:
        target: What messages call it.
        tool: The quantizer.
        spec: What it makes.
        options: As the recipe wrote them.
        inputs: What it reads besides the weights.
        plan: Its plan.
    """

    target: str
    tool: Tool
    spec: TransformSpec
    options: Mapping[str, object]
    inputs: Mapping[str, Artifact]
    plan: TransformPlan


@frozen(kw_only=True)
class Streamed:
    """What came of it: the weights that passed, and what was made of them, in the order of the consumers."""

    weights: Artifact
    made: tuple[Artifact, ...]


@define
class _Passing:
    """A pipe as a file that can be read again as far as it has been read: the header is, by its reader."""

    pipe: FileIO
    seen: bytearray = attrs.field(factory=bytearray)
    position: int = 0
    ended: bool = False

    def seek(self, position: int) -> int:
        self.position = position
        return position

    def read(self, count: int) -> bytes:
        end = self.position + count
        while len(self.seen) < end and not self.ended:
            piece = self.pipe.read(_PIECE)
            self.ended = not piece
            self.seen += piece
        found = bytes(self.seen[self.position : end])
        self.position += len(found)
        return found


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """Return both ends of a pipe; they are closed with `stack`, or before."""
    read, write = os.pipe()
    ends = stack.enter_context(FileIO(read, "r")), stack.enter_context(FileIO(write, "w"))
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # an administrator's limit
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIECE)
    return ends


def _path(end: FileIO) -> Path:
    return Path(f"/dev/fd/{end.fileno()}")


def _write(end: FileIO, view: memoryview) -> bool:
    """Write to a quantizer; False when it reads no more: if something is wrong with it, that shows elsewhere."""
    try:
        while view:
            view = view[end.write(view) :]
    except BrokenPipeError:
        return False
    return True


def _pass_on(passing: _Passing, size: int, ends: list[FileIO], ports: Ports) -> Artifact | None:
    """Hash what passes, and hand it to every quantizer; None as soon as it is more than `size` bytes."""
    digest, seen = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_PIECE))
    piece, open_ends = memoryview(passing.seen), ends
    while piece:
        ports.check_cancelled()
        digest.update(piece)
        seen += len(piece)
        if seen > size:
            return None
        open_ends = [end for end in open_ends if _write(end, piece)]
        piece = buffer[: passing.pipe.readinto(buffer)]
    if seen == size:  # quantizers of less would take the end for the whole
        for end in ends:
            end.close()
    return Artifact(Digest(digest.hexdigest()), seen)


@define
class _Stream:
    """One conversion in progress.

    Attributes:
        sizes: Bytes of every tensor, once the header has passed.
        tensors: Of the weights, likewise.
    """

    wanted: Conversion
    tool: Tool
    plan: TransformPlan
    ports: Ports
    sizes: dict[str, int] = attrs.field(factory=dict)
    tensors: list[GGUFTensor] = attrs.field(factory=list)

    def _cancel(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # before the pool waits for a converter that nobody reads
            self.ports.cancel()

    def convert(self, output: FileIO) -> None:
        with output:  # should it not even start, nobody waits for it to write
            self.ports.isolated.run(
                self.tool.registered,
                spec_to_run(self.tool, self.wanted.spec, self.plan),
                {},
                input_files(self.wanted.inputs, self.ports),
                _path(output),
                self.ports.threads,
                tensor_progress("convert", ROLE, self.sizes, self.ports),
                handed=[output],
            )

    def consume(self, consumer: Consumer, weights: InputFile, pipe: FileIO, threads: int) -> Artifact:
        ports, produces = self.ports, consumer.spec.produces
        with (
            pipe,  # should it not even start, nobody waits for it to read
            ports.stage("quantize", consumer.target, produces) as running,
        ):
            inputs = {**input_files(dict(consumer.inputs), ports), "weights": weights}
            made = ports.store.blobs.put_with(
                lambda path: ports.isolated.run(
                    consumer.tool.registered,
                    spec_to_run(consumer.tool, consumer.spec, consumer.plan),
                    dict(consumer.options),
                    inputs,
                    path,
                    threads,
                    tensor_progress("quantize", consumer.target, self.sizes, ports),
                    handed=[pipe],
                ),
                lambda path: check_output(path, consumer.plan, consumer.tool.registered.record.name),
            )
            came = outcome(self.tensors, {item.tensor: item.type for item in consumer.plan.tensors}, produces)
            running.detail = f"{produces}, {made.size / 1e6:.1f} MB, {came.sentence}"
        return made

    def run(self, choose: Callable[[GGUFHeader, InputFile], Sequence[Consumer]]) -> Streamed:
        what = f"the output of {self.wanted.registered.record.name}"
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="convert"))
            stack.push(self._cancel)
            source, output = _pipe(stack)
            converting = pool.submit(self.convert, output)
            passing = _Passing(source)
            try:
                header = read_gguf(passing, None, what)  # type: ignore[arg-type]  # it seeks and reads, no more
            except FormatError:
                if passing.ended:
                    converting.result()  # its error, if it has one, says more than what is missing
                raise
            self.tensors.extend(header.tensors)
            self.sizes.update({tensor.name: tensor.size for tensor in header.tensors})
            head = bytes(passing.seen[: header.data_offset])
            size = header.size
            path = stack.enter_context(skeleton(head, size, self.ports))
            weights = InputFile(path=path, artifact=attrs.evolve(Artifact.of(head), size=size))
            consumers = choose(header, weights)
            threads = max(1, self.ports.threads // len(consumers))
            pipes = [_pipe(stack) for _ in consumers]

            def pass_on() -> Artifact:
                passed = _pass_on(passing, size, [end for _, end in pipes], self.ports)
                if passed is None or passed.size < size:
                    if passed is not None:
                        converting.result()  # it has ended; its error says more than what is missing
                    raise FormatError(f"{what} is not the {size} bytes that its header makes it")
                converting.result()
                return passed

            work: list[Callable[[], Artifact]] = [
                functools.partial(self.consume, consumer, attrs.evolve(weights, pipe=_path(pipe)), pipe, threads)
                for consumer, (pipe, _) in zip(consumers, pipes, strict=True)
            ]
            work.append(pass_on)  # last: an interrupt before finds nothing that waits for a quantizer
            found = in_parallel(lambda step: step(), work, len(work), self.ports)
        remember_header(found[-1], head, self.ports)
        return Streamed(weights=found[-1], made=tuple(found[:-1]))


def convert_and_quantize(
    wanted: Conversion,
    tool: Tool,
    plan: TransformPlan,
    choose: Callable[[GGUFHeader, InputFile], Sequence[Consumer]],
    ports: Ports,
) -> Streamed:
    """Convert weights, hash them, and have every consumer quantise them, in one pass.

    Args:
        wanted: The conversion; its inputs are in the store.
        tool: The converter; it streams.
        plan: Its plan.
        choose: Returns the consumers, at least one, given the header and a file that plans can be made from.
        ports: Store, registry and threads.

    Raises:
        FormatError: What the converter or a quantizer made is not sound.
        LftoolError: Whatever a plugin raises; nothing is stored then.
    """
    detail = f"{len(wanted.inputs)} files with {tool.registered.record.name}, not stored"
    with ports.stage("convert", ROLE, detail) as running:
        streamed = _Stream(wanted, tool, plan, ports).run(choose)
        running.detail = f"{streamed.weights.size / 1e6:.1f} MB"
    return streamed
