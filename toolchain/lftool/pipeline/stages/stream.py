"""convert and quantize in one pass: pipe weights to the quantizers and a hash, without storing them.

The converter writes to one pipe; every piece is hashed and passed to each quantizer. Quantizers start once the header
has passed, since it lists the tensors.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
from attrs import define, field

from lftool.api import InputFile
from lftool.errors import FormatError
from lftool.formats.gguf_read import read_gguf
from lftool.models.digest import Artifact
from lftool.pipeline.graph.steps import Quantize
from lftool.pipeline.model.headers import remember_header, skeleton
from lftool.pipeline.model.parts import WEIGHTS
from lftool.pipeline.parallel import in_parallel
from lftool.pipeline.ports import Ports
from lftool.pipeline.progress import tensor_progress
from lftool.pipeline.stages.convert import Conversion, made_before
from lftool.pipeline.stages.convert import agreed as agreed_conversion
from lftool.pipeline.stages.done import done_already, with_output
from lftool.pipeline.stages.outputs import check_output
from lftool.pipeline.stages.passing import Passing, open_pipe, pass_on, path_of
from lftool.pipeline.stages.quantize import Quantization, agreed, agreed_ahead
from lftool.pipeline.tools.pins import Pins
from lftool.pipeline.tools.requests import converter_of, quantizer_of
from lftool.pipeline.tools.tool import Tool, input_files, spec_to_run

if TYPE_CHECKING:
    from io import FileIO

    from lftool.models.lock import LockedConvert, LockedQuantize
    from lftool.pipeline.graph.steps import Convert, Stream

_MOST_CONSUMERS = 4


def can_stream(convert: Convert, quantizes: Sequence[Quantize], ports: Ports) -> bool:
    """Return whether a converter and quantizers can stream, in one pass: each quantizer needs a process and buffers.

    Raises:
        UnavailableError: One of them is not installed.
    """
    if len(quantizes) > max(_MOST_CONSUMERS, ports.threads):
        return False
    tools = [converter_of(convert.request, ports.registry)]
    return all(
        item.record.streams for item in [*tools, *(quantizer_of(step.request, ports.registry) for step in quantizes)]
    )


def stream(
    step: Stream, imatrix: Mapping[str, Artifact], pins: Pins, ports: Ports
) -> tuple[LockedConvert, list[LockedQuantize]]:
    """Convert weights, hash them, and quantise them for every step, in one pass; outputs that exist already stay.

    Args:
        step: The step; the converter's inputs are in the store.
        imatrix: The importance matrix under its role; empty if there is none.
        pins: The pins that the steps must follow.
        ports: Store, registry, child processes.

    Raises:
        FormatError: The output of the converter or a quantizer is not valid.
        NotReproducibleError: An output is not the one that the lock names.
        LftoolError: Whatever a plugin raises; then nothing is stored.
    """
    wanted = agreed_conversion(step.convert, pins, ports)
    actions = {wanted.action} | {item.locked.action for item in step.quantizes if item.locked is not None}
    with contextlib.ExitStack() as stack:
        for action in sorted(actions, key=lambda item: item.hex):  # fixed order, or two builds wait for each other
            stack.enter_context(ports.store.doing(action))
        weights = made_before(wanted, pins, ports, header=True)
        if weights is not None and all(item.locked is None for item in step.quantizes):
            plans = [agreed(item, weights, imatrix, pins, ports) for item in step.quantizes]
            return wanted.locked(weights), [plan.locked(weights, None) for plan in plans]
        done = {item.name: _done(item, ports) for item in step.quantizes}
        left = [item for item in step.quantizes if done[item.name] is None]
        if left or step.convert.locked is None:
            wanted.require_fingerprint(ports)
            made, found = _Streaming(wanted, left, imatrix, pins, ports).run()
            done |= {item.name: stage for item, stage in zip(left, found, strict=True)}
            return wanted.locked(made), [stage for stage in done.values() if stage is not None]
        return step.convert.locked, [stage for stage in done.values() if stage is not None]


def _done(step: Quantize, ports: Ports) -> LockedQuantize | None:
    made = None if step.locked is None else done_already(step.locked, ports)
    return None if made is None or step.locked is None else with_output(step.locked, made)


@define
class _Streaming:
    """One pass in progress.

    Attributes:
        sizes: Bytes of every tensor, once the header has passed.
    """

    wanted: Conversion
    steps: list[Quantize]
    imatrix: Mapping[str, Artifact]
    pins: Pins
    ports: Ports
    sizes: dict[str, int] = field(factory=dict)

    def _cancel(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # before the pool waits for a converter whose output is no longer read
            self.ports.cancel()

    def _convert(self, output: FileIO) -> None:
        wanted = self.wanted
        with output:  # if it fails to start, no reader waits for its output
            self.ports.isolated.run(
                wanted.tool.registered,
                spec_to_run(wanted.tool, wanted.spec, wanted.plan),
                dict(wanted.options),
                input_files(dict(wanted.step.inputs), self.ports),
                path_of(output),
                self.ports.threads,
                tensor_progress("convert", wanted.step.role, self.sizes, self.ports),
                handed=[output],
            )

    def _quantize(self, asked: Quantization, tool: Tool, weights: InputFile, pipe: FileIO, threads: int) -> Artifact:
        ports, target = self.ports, asked.step.targets[0]
        with (
            pipe,  # if it fails to start, no writer waits for it
            ports.stage("quantize", target, asked.spec.produces) as running,
        ):
            inputs = {**input_files(dict(self.imatrix), ports), WEIGHTS: weights}
            made = ports.store.blobs.put_with(
                lambda path: ports.isolated.run(
                    tool.registered,
                    spec_to_run(tool, asked.spec, asked.plan),
                    dict(asked.options),
                    inputs,
                    path,
                    threads,
                    tensor_progress("quantize", target, self.sizes, ports),
                    handed=[pipe],
                ),
                lambda path: check_output(path, asked.plan, tool.registered.record.name),
            )
            running.detail = asked.detail(made)
        return made

    def run(self) -> tuple[Artifact, list[LockedQuantize]]:
        """Run the pass and record its results; return the weights that passed and the entries of the quantised ones."""
        wanted, name = self.wanted, self.wanted.tool.registered.record.name
        detail = f"{len(wanted.step.inputs)} files with {name}, not stored"
        with self.ports.stage("convert", wanted.step.role, detail) as running:
            weights, made, asked = self._pass()
            running.detail = f"{weights.size / 1e6:.1f} MB"
        self.pins.accept(wanted.step, wanted.action, weights)
        self.ports.records.put(wanted.action, {WEIGHTS: weights})
        for item, output in zip(asked, made, strict=True):
            action = item.action(weights)
            self.pins.accept(item.step, action, output)
            self.ports.records.put(action, {WEIGHTS: output})
            item.remember(item.inputs(weights))
        return weights, [item.locked(weights, output) for item, output in zip(asked, made, strict=True)]

    def _pass(self) -> tuple[Artifact, list[Artifact], list[Quantization]]:
        what = f"the output of {self.wanted.tool.registered.record.name}"
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="convert"))
            stack.push(self._cancel)
            source, output = open_pipe(stack)
            converting = pool.submit(self._convert, output)
            passing = Passing(source)
            try:
                header = read_gguf(passing, None, what)  # type: ignore[arg-type]  # it only seeks and reads
            except FormatError:
                if passing.ended:
                    converting.result()  # its error, if any, explains more than a truncated file
                raise
            self.sizes.update({tensor.name: tensor.size for tensor in header.tensors})
            head, size = bytes(passing.seen[: header.data_offset]), header.size
            path = stack.enter_context(skeleton(head, size, self.ports))
            weights = InputFile(path=path, artifact=attrs.evolve(Artifact.of(head), size=size))
            asked = [agreed_ahead(step, header, weights, self.imatrix, self.pins, self.ports) for step in self.steps]
            tools = [item.executing(self.pins, self.ports) for item in asked]
            threads = max(1, self.ports.threads // len(asked))
            pipes = [open_pipe(stack) for _ in asked]

            def passed_on() -> Artifact:
                passed = pass_on(passing, size, [end for _, end in pipes], self.ports)
                if passed is None or passed.size < size:
                    if passed is not None:
                        converting.result()  # it has ended; its error explains more than a truncated file
                    raise FormatError(f"{what} does not have the {size} bytes that its header gives")
                converting.result()
                return passed

            work: list[Callable[[], Artifact]] = [
                functools.partial(self._quantize, item, tool, attrs.evolve(weights, pipe=path_of(pipe)), pipe, threads)
                for item, tool, (pipe, _) in zip(asked, tools, pipes, strict=True)
            ]
            work.append(passed_on)  # last, so that an earlier interrupt leaves nothing waiting for a quantizer
            *made, whole = in_parallel(lambda step: step(), work, len(work), self.ports)
        remember_header(whole, head, self.ports)
        return whole, made, asked
