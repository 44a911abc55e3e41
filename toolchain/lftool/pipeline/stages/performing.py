"""What each step does: calls its stage with the products of earlier steps, and returns its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from lftool.errors import LftoolError
from lftool.models.digest import Artifact
from lftool.models.recipe import Recipe
from lftool.pipeline.graph.steps import (
    Compile,
    Convert,
    Fetch,
    Measure,
    Metadata,
    Pack,
    Plan,
    Product,
    Quantize,
    Sign,
    Step,
    Stream,
)
from lftool.pipeline.model.parts import IMATRIX, ModelParts
from lftool.pipeline.ports import Ports
from lftool.pipeline.stages.bundling import Bundling
from lftool.pipeline.stages.done import converted_already, quantized_already
from lftool.pipeline.tools.pins import Pins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lftool.models.lock import LockedMetadata, LockedQuantize
    from lftool.pipeline.graph.executor import Results

_BYTES_AN_ELEMENT = 8  # a tensor as 32-bit floats, and its output


@define(kw_only=True)
class Stages:
    """Carries out the steps of a build or of a lock.

    Attributes:
        recipe: The recipe.
        parts: The parts of the model.
        pins: The pins that steps must follow.
        ports: Store, registry, child processes.
        bundling: Packs and signs; None for a graph without such steps.
    """

    recipe: Recipe
    parts: ModelParts
    pins: Pins
    ports: Ports
    bundling: Bundling | None = None

    def perform(self, step: Step, made: Results, threads: int) -> Results:
        """Carry out a step. May raise whatever its stage raises."""
        self.ports.check_cancelled()
        results = _PERFORMERS[type(step)](self, step, made, threads)
        return dict(zip(step.makes, results, strict=True))

    def memory_bytes(self, step: Step, made: Results) -> int:
        """Return how much memory a step takes, as far as it depends on the model."""
        if isinstance(step, Measure):
            return sum(self._artifact(product, made).size for product in step.reads)
        if isinstance(step, Quantize):
            return self._largest_tensor(step, made)
        return 0

    def _largest_tensor(self, step: Quantize, made: Results) -> int:
        from lftool.pipeline.model.weights import weights_header  # noqa: PLC0415 - most builds do not quantise

        try:
            header = weights_header(self._artifact(step.weights, made), "the weights", self.ports)
        except LftoolError:  # the step itself raises a better error
            return 0
        elements = (tensor.size // tensor.type.block_bytes * tensor.type.block_elements for tensor in header.tensors)
        return _BYTES_AN_ELEMENT * max(elements, default=0)

    def _artifact(self, product: Product, made: Results) -> Artifact:
        """Return the blob of a product."""
        if product in made:
            found = made[product]
            return found if isinstance(found, Artifact) else found.output
        if product.kind == "file":
            return next(file.artifact for _, file in self.parts.needed_files if file.sha256.hex == product.name)
        return self.parts.artifact(product.name)

    def _imatrix(self, step: Quantize, made: Results) -> dict[str, Artifact]:
        return {} if step.imatrix is None else {IMATRIX: self._artifact(step.imatrix, made)}

    def compile(self, step: Compile, made: Results, threads: int) -> list[Any]:  # noqa: ARG002 - one signature for all
        """Bring a runtime into the store."""
        self.pins.compile(step)
        return [None]

    def fetch(self, step: Fetch, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Bring a file into the store."""
        self.pins.fetch(step)
        return [step.output]

    def convert(self, step: Convert, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Convert a source's files to one GGUF."""
        done = converted_already(step, self.ports)
        if done is not None:
            return [done]
        from lftool.pipeline.stages.convert import convert  # noqa: PLC0415 - as above

        return [convert(step, self.pins, threads, self.ports)]

    def quantize(self, step: Quantize, made: Results, threads: int) -> list[Any]:
        """Quantise weights."""
        done = quantized_already(step, self.ports)
        if done is not None:
            return [done]
        from lftool.pipeline.stages.quantize import quantize  # noqa: PLC0415 - as above

        weights, imatrix = self._artifact(step.weights, made), self._imatrix(step, made)
        return [quantize(step, weights, imatrix, self.pins, threads, self.ports)]

    def plan(self, step: Plan, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Plan a quantize step without running it."""
        from lftool.pipeline.stages.quantize import agreed  # noqa: PLC0415 - as above

        weights, imatrix = self._artifact(step.of.weights, made), self._imatrix(step.of, made)
        return [agreed(step.of, weights, imatrix, self.pins, self.ports).locked(weights, None)]

    def stream(self, step: Stream, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Convert and quantise weights in one pass."""
        from lftool.pipeline.stages.stream import stream  # noqa: PLC0415 - as above

        converted, quantized = stream(step, self._imatrix(step.quantizes[0], made), self.pins, self.ports)
        return [converted, *quantized]

    def measure(self, step: Measure, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Raise PolicyError unless a check passes."""
        from lftool.pipeline.model.planned_checks import planned_check  # noqa: PLC0415 - as above
        from lftool.pipeline.stages.measure import Comparison, context_of, measure, require, text_of  # noqa: PLC0415 - as above

        ports, target = self.ports, step.target
        check = planned_check(step.number, step.check, ports.registry)
        weights, reference = self._artifact(step.weights, made), self._artifact(step.reference, made)
        text, backend = text_of(check, ports.files), self.recipe.targets[target].backend
        comparison = Comparison(backend=backend, text=text, context=context_of(check), reference=reference)
        found = measure(target, weights, comparison, ports)
        return [require(check, found, target)]

    def metadata(self, step: Metadata, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Give weights other keys."""
        from lftool.pipeline.stages.describing import describe  # noqa: PLC0415 - as above

        quantized: LockedQuantize | None = made[step.weights] if step.weights.kind == "quantized" else None
        template = None if step.template is None else self._artifact(step.template, made)
        return [describe(step, self._artifact(step.weights, made), quantized, template, self.ports)]

    def pack(self, step: Pack, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Write a bundle."""
        assert self.bundling is not None  # noqa: S101 - a graph with such steps comes with it
        quantized: LockedQuantize | None = None if step.quantized is None else made[step.quantized]
        described: LockedMetadata | None = made[step.weights] if step.weights.kind == "described" else None
        packed = self.bundling.pack(step.target, quantized, described)
        return [packed if step.signed else self.bundling.finish(packed)]

    def sign(self, step: Sign, made: Results, threads: int) -> list[Any]:  # noqa: ARG002
        """Sign a bundle."""
        assert self.bundling is not None  # noqa: S101 - as above
        (unsigned,) = step.reads
        return [self.bundling.sign(made[unsigned])]


_PERFORMERS: Mapping[type[Step], Callable[[Stages, Any, Results, int], list[Any]]] = {
    Compile: Stages.compile,
    Fetch: Stages.fetch,
    Convert: Stages.convert,
    Quantize: Stages.quantize,
    Plan: Stages.plan,
    Stream: Stages.stream,
    Measure: Stages.measure,
    Metadata: Stages.metadata,
    Pack: Stages.pack,
    Sign: Stages.sign,
}
