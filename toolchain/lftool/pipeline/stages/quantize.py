"""quantize: turn pinned weights into the planned file, in a child process, and check it before storing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import TransformPlan, TransformSpec
from lftool.api.gguf import GGUFHeader
from lftool.codec.options import canonical_options
from lftool.formats.fallbacks import outcome
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import LockedQuantize, LockedTool
from lftool.pipeline.graph.steps import Quantize
from lftool.pipeline.identity import plan_digest, transform_action
from lftool.pipeline.model.overrides import check_overrides
from lftool.pipeline.model.parts import WEIGHTS
from lftool.pipeline.model.weights import weights_header
from lftool.pipeline.progress import tensor_progress
from lftool.pipeline.stages.outcomes import of_target, tell_outcome
from lftool.pipeline.stages.outputs import check_output
from lftool.pipeline.tools.accelerators import accelerated
from lftool.pipeline.tools.requests import quantize_spec
from lftool.pipeline.tools.tool import (
    Tool,
    input_files,
    plan_ahead,
    plan_transform,
    require_pinned_fingerprint,
    spec_to_run,
)
from lftool.pipeline.uses import Use, deciding

if TYPE_CHECKING:
    from lftool.api import InputFile
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.tools.pins import Pins


@frozen(kw_only=True)
class Quantization:
    """A quantize step that agrees with the pins: its tool, its plan, and the header that it was planned from.

    Attributes:
        imatrix: The importance matrix under its role; empty if there is none.
        remember: Stores the plan once the weights have a name.
    """

    step: Quantize
    tool: Tool
    spec: TransformSpec
    options: Mapping[str, Any]
    imatrix: Mapping[str, Artifact]
    header: GGUFHeader
    plan: TransformPlan
    pinned: LockedTool
    remember: Callable[[dict[str, Artifact]], None] = lambda _: None

    @property
    def use(self) -> str:
        """The fingerprint that it depends on."""
        return _use(self.tool, self.spec, self.options, self.imatrix)

    def inputs(self, weights: Artifact) -> dict[str, Artifact]:
        """Return role to artifact of its inputs."""
        return {**self.imatrix, WEIGHTS: weights}

    def action(self, weights: Artifact) -> Digest:
        """Return its action."""
        semantics = self.tool.registered.record.semantics
        return transform_action(
            "quantize", self.inputs(weights), semantics, self.use, self.pinned, plan_digest(self.plan)
        )

    def locked(self, weights: Artifact, made: Artifact | None) -> LockedQuantize:
        """Return its lock entry."""
        record = self.tool.registered.record
        return LockedQuantize(
            semantics=record.semantics,
            uses=self.use,
            quantizer=record.name,
            mixture=self.spec.mixture or None,
            plan=plan_digest(self.plan),
            action=self.action(weights),
            sha256=made.sha256 if made else None,
            size=made.size if made else None,
        )

    def executing(self, pins: Pins, ports: Ports) -> Tool:
        """Return the tool that runs it: an accelerator, or the original tool if its fingerprint is the pinned one.

        Raises:
            UnavailableError: The tool produces other bits.
        """
        semantics = self.tool.registered.record.semantics
        require_pinned_fingerprint(self.tool, semantics, self.use, self.pinned, ports)
        expected = self.pinned.fingerprints[self.use]
        return accelerated(self.tool, self.step.backend, self.use, expected, pins.lock, ports)

    def detail(self, made: Artifact) -> str:
        """Return a description of the resulting weights."""
        came = outcome(self.header.tensors, {item.tensor: item.type for item in self.plan.tensors}, self.spec.produces)
        return f"{self.spec.produces}, {made.size / 1e6:.1f} MB, {came.sentence}"


def agreed(
    step: Quantize,
    weights: Artifact,
    imatrix: Mapping[str, Artifact],
    pins: Pins,
    ports: Ports,
) -> Quantization:
    """Plan a step and check the plan against the pins; its weights, or their header, must be in the store.

    Raises:
        RecipeError: Unknown option, or an override that cannot be met.
        NotReproducibleError: The lock names another plan.
        UnavailableError: The installed plugin or tool is not the pinned one.
    """
    header = weights_header(weights, "the weights", ports)
    inputs = {**imatrix, WEIGHTS: weights}
    return _agreed(
        step,
        header,
        imatrix,
        lambda tool, spec, options: (plan_transform(tool, spec, options, inputs, ports), lambda _: None),
        pins,
        ports,
    )


def agreed_ahead(
    step: Quantize,
    header: GGUFHeader,
    weights: InputFile,
    imatrix: Mapping[str, Artifact],
    pins: Pins,
    ports: Ports,
) -> Quantization:
    """Plan a step whose weights are still being made; `weights` starts like them. May raise as `agreed` does."""
    files = {**input_files(dict(imatrix), ports), WEIGHTS: weights}
    checked = step.locked is not None
    return _agreed(
        step,
        header,
        imatrix,
        lambda tool, spec, options: plan_ahead(tool, spec, options, files, ports, checked=checked),
        pins,
        ports,
    )


def _agreed(
    step: Quantize,
    header: GGUFHeader,
    imatrix: Mapping[str, Artifact],
    plan_with: Callable[
        [Tool, TransformSpec, dict[str, Any]], tuple[TransformPlan, Callable[[dict[str, Artifact]], None]]
    ],
    pins: Pins,
    ports: Ports,
) -> Quantization:
    target = step.targets[0]
    spec = quantize_spec(step.request, header, target, ports.registry)
    options = canonical_options(step.request.options)
    tool = pins.quantizer(step)
    with of_target(target):
        plan, remember = plan_with(tool, spec, options)
    pins.agree(step, tool, plan_digest(plan))
    if step.locked is None:
        check_overrides(spec.overrides, plan, target)
        for name in step.targets:
            tell_outcome(name, spec.produces, header, plan, ports)
    return Quantization(
        step=step,
        tool=tool,
        spec=spec,
        options=options,
        imatrix=imatrix,
        header=header,
        plan=plan,
        pinned=pins.fingerprints(tool, _use(tool, spec, options, imatrix)),
        remember=remember,
    )


def _use(tool: Tool, spec: TransformSpec, options: Mapping[str, Any], imatrix: Mapping[str, Artifact]) -> str:
    """Return the fingerprint of a tool that a stage depends on."""
    found = deciding(options, tool.registered.record.options_class)
    return str(Use(produces=spec.produces, imatrix=bool(imatrix), options=found))


def quantize(
    step: Quantize, weights: Artifact, imatrix: Mapping[str, Artifact], pins: Pins, threads: int, ports: Ports
) -> LockedQuantize:
    """Return the entry of quantised weights that are in the store, cached or newly made.

    Args:
        step: The step.
        weights: The weights to quantise.
        imatrix: The importance matrix under its role; empty if there is none.
        pins: The pins that the step must follow.
        threads: Number of threads.
        ports: Store, registry, child processes.

    Raises:
        NotReproducibleError: The output is not the one that the lock names.
        UnavailableError: The installed plugin or tool is not the pinned one.
        FormatError: The input or the output is not a valid GGUF.
    """
    wanted = agreed(step, weights, imatrix, pins, ports)
    action = wanted.action(weights)
    with ports.store.doing(action):
        known = ports.records.known(action, WEIGHTS, pins.expected(step, action))
        if known is not None and ports.store.blobs.is_sound(known.output):  # made by another process in the meantime
            with ports.stage("quantize", step.targets[0], step.detail, cached=True):
                return wanted.locked(weights, known.output)
        made = _run(wanted, wanted.executing(pins, ports), weights, threads, ports)
        pins.accept(step, action, made)
        ports.records.put(action, {WEIGHTS: made})
    return wanted.locked(weights, made)


def _run(wanted: Quantization, tool: Tool, weights: Artifact, threads: int, ports: Ports) -> Artifact:
    target, produces = wanted.step.targets[0], wanted.spec.produces
    inputs, spec = input_files(wanted.inputs(weights), ports), spec_to_run(tool, wanted.spec, wanted.plan)
    sizes = {tensor.name: tensor.size for tensor in wanted.header.tensors}
    progress = tensor_progress("quantize", target, sizes, ports)
    with ports.stage("quantize", target, produces) as running:
        made = ports.store.blobs.put_with(
            lambda path: ports.isolated.run(
                tool.registered, spec, dict(wanted.options), inputs, path, threads, progress
            ),
            lambda path: check_output(path, wanted.plan, tool.registered.record.name),
        )
        running.detail = wanted.detail(made)
    return made
