"""convert: turn the pinned files of a source into one GGUF, in a child process, and check it before storing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import ConverterType, TransformPlan, TransformSpec
from lftool.codec.options import canonical_options
from lftool.models.digest import Digest
from lftool.models.lock import LockedConvert, LockedTool
from lftool.pipeline.graph.steps import Convert
from lftool.pipeline.identity import plan_digest, transform_action
from lftool.pipeline.model.headers import header_of
from lftool.pipeline.model.parts import WEIGHTS
from lftool.pipeline.progress import tensor_progress
from lftool.pipeline.sources.fetch import bring
from lftool.pipeline.stages.outputs import check_output
from lftool.pipeline.tools.requests import convert_spec
from lftool.pipeline.tools.tool import Tool, input_files, plan_transform, require_pinned_fingerprint, spec_to_run
from lftool.pipeline.uses import Use, deciding

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.tools.pins import Pins


@frozen(kw_only=True)
class Conversion:
    """A convert step that agrees with the pins: its tool, its plan, its action.

    Attributes:
        options: As written in the recipe, in canonical form.
        use: The fingerprint that it depends on.
    """

    step: Convert
    tool: Tool
    spec: TransformSpec
    options: Mapping[str, Any]
    use: str
    plan: TransformPlan
    pinned: LockedTool
    action: Digest

    def require_fingerprint(self, ports: Ports) -> None:
        """Raise UnavailableError unless the tool produces the pinned bits."""
        record = self.tool.registered.record
        require_pinned_fingerprint(self.tool, record.semantics, self.use, self.pinned, ports)

    def locked(self, made: Artifact) -> LockedConvert:
        """Return its lock entry."""
        record = self.tool.registered.record
        recognises = isinstance(record, ConverterType) and record.recognises
        return LockedConvert(
            semantics=record.semantics,
            uses=self.use,
            converter_name=record.name,
            format=record.consumes[0] if recognises else None,
            files=tuple(sorted(self.step.inputs)) if recognises else (),
            plan=plan_digest(self.plan),
            action=self.action,
            sha256=made.sha256,
            size=made.size,
        )


def agreed(step: Convert, pins: Pins, ports: Ports) -> Conversion:
    """Plan a step and check the plan against the pins; the step's inputs must be in the store.

    Raises:
        RecipeError: Unknown option.
        NotReproducibleError: The lock names another plan.
        UnavailableError: The installed plugin or tool is not the pinned one.
    """
    tool, spec = pins.converter(step), convert_spec(step.request, step.role, ports.registry)
    options, record = canonical_options(step.request.options), tool.registered.record
    plan = plan_transform(tool, spec, options, dict(step.inputs), ports)
    pins.agree(step, tool, plan_digest(plan))
    use = str(Use(produces=spec.produces, options=deciding(options, record.options_class)))
    pinned = pins.fingerprints(tool, use)
    action = transform_action("convert", step.inputs, record.semantics, use, pinned, plan_digest(plan))
    return Conversion(
        step=step, tool=tool, spec=spec, options=options, use=use, plan=plan, pinned=pinned, action=action
    )


def made_before(wanted: Conversion, pins: Pins, ports: Ports, *, header: bool = False) -> Artifact | None:
    """Return the lock's GGUF if it counts as made and is in the store; with `header`, its header is enough."""
    output = pins.expected(wanted.step, wanted.action)
    if output is None or ports.records.vouched(wanted.action, WEIGHTS, output) is None:
        return None
    there = bring(output, "converted", wanted.step.role, ports)
    return output if there or (header and header_of(output, ports) is not None) else None


def convert(step: Convert, pins: Pins, threads: int, ports: Ports) -> LockedConvert:
    """Make sure that the GGUF of a conversion is in the store and was made by it; the step's inputs must be there.

    Raises:
        FormatError: An input or the output is not valid.
        NotReproducibleError: The output is not the one that the lock names.
        UnavailableError: The installed plugin or tool is not the pinned one.
        PluginError: The converter failed.
    """
    wanted = agreed(step, pins, ports)
    with ports.store.doing(wanted.action):
        made = made_before(wanted, pins, ports)
        if made is None:
            wanted.require_fingerprint(ports)
            made = _run(wanted, threads, ports)
            pins.accept(step, wanted.action, made)
            ports.records.put(wanted.action, {WEIGHTS: made})
    return wanted.locked(made)


def _run(wanted: Conversion, threads: int, ports: Ports) -> Artifact:
    step, name = wanted.step, wanted.tool.registered.record.name
    with ports.stage("convert", step.role, f"{len(step.inputs)} files with {name}") as running:
        made = ports.store.blobs.put_with(
            lambda path: ports.isolated.run(
                wanted.tool.registered,
                spec_to_run(wanted.tool, wanted.spec, wanted.plan),
                dict(wanted.options),
                input_files(dict(step.inputs), ports),
                path,
                threads,
                tensor_progress("convert", step.role, {}, ports),
            ),
            lambda path: check_output(path, wanted.plan, name),
        )
        running.detail = f"{made.size / 1e6:.1f} MB"
    return made
