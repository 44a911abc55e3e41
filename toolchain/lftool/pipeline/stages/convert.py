"""convert: the pinned files of a source become one GGUF, in a child process, checked before it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import NotReproducibleError
from lftool.pipeline.archives import with_archive
from lftool.pipeline.identity import plan_digest
from lftool.pipeline.pins import require_pinned_plugin
from lftool.pipeline.progress import tensor_progress
from lftool.pipeline.stages.quantize import check_output
from lftool.pipeline.tools import input_files, plan_transform, require_pinned_fingerprint, spec_to_run, tool_of

if TYPE_CHECKING:
    from lftool.api import TransformPlan
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedConvert
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.tasks import Conversion
    from lftool.pipeline.tools import Tool

ROLE = "weights"


def differs(role: str, locked: Artifact, made: Artifact, hint: str) -> NotReproducibleError:
    """Return the error for a conversion that came out otherwise than the lock says."""
    return NotReproducibleError(
        f"stage convert, {role}: the lock names sha256 {locked.sha256} ({locked.size} bytes),"
        f" what was made is sha256 {made.sha256} ({made.size} bytes)",
        hints=(hint,),
    )


def run_conversion(wanted: Conversion, tool: Tool, plan: TransformPlan, threads: int, ports: Ports) -> Artifact:
    """Convert, and return the GGUF, which is in the store.

    Raises:
        FormatError: An input or the output is not sound.
        PluginError: The converter failed.
    """
    name = wanted.registered.record.name
    role = wanted.role
    with ports.stage("convert", role, f"{len(wanted.inputs)} files with {name}") as running:
        made = ports.store.blobs.put_with(
            lambda path: ports.isolated.run(
                tool.registered,
                spec_to_run(tool, wanted.spec, plan),
                {},
                input_files(wanted.inputs, ports),
                path,
                threads,
                tensor_progress("convert", role, {}, ports),
            ),
            lambda path: check_output(path, plan, name),
        )
        running.detail = f"{made.size / 1e6:.1f} MB"
    return made


def convert(wanted: Conversion, locked: LockedConvert, lock: Lock, ports: Ports) -> Artifact:
    """Make sure that the locked GGUF is in the store, and was made by the locked conversion; its inputs must be there.

    Raises:
        NotReproducibleError: What was made is not what the lock names.
        UnavailableError: The installed plugin or tool is not the pinned one.
    """
    with ports.store.doing(locked.action):
        if ports.records.known(locked.action, "weights", locked.output) and ports.store.blobs.is_sound(locked.output):
            return locked.output
        tool, plan = pinned_converter(wanted, locked, lock, ports)
        made = run_conversion(wanted, tool, plan, ports.threads, ports)
        require_locked_output(wanted.role, locked, made)
        ports.records.put(locked.action, {"weights": made})
        return made


def pinned_converter(wanted: Conversion, locked: LockedConvert, lock: Lock, ports: Ports) -> tuple[Tool, TransformPlan]:
    """Return the converter and its plan, which are those that the lock names.

    Raises:
        NotReproducibleError: The plan is another one.
        UnavailableError: The installed plugin or tool is not the pinned one.
    """
    require_pinned_plugin(wanted.registered.origin, lock, ports)
    tool = tool_of(wanted.registered, ports)
    tool = with_archive(tool, lock.tools[locked.semantics].archive, locked.semantics, lock, ports)
    require_pinned_fingerprint(tool, locked.semantics, locked.uses, lock.tools[locked.semantics], ports)
    plan = plan_transform(tool, wanted.spec, {}, wanted.inputs, ports)
    if plan_digest(plan) != locked.plan:
        raise NotReproducibleError(
            f"stage convert, {wanted.role}: the lock names plan {locked.plan}, the tool plans {plan_digest(plan)}",
            hints=("lock again: lftool lock --upgrade tool:" + locked.semantics,),
        )
    return tool, plan


def require_locked_output(role: str, locked: LockedConvert, made: Artifact) -> None:
    """Raise NotReproducibleError unless a conversion made what the lock names."""
    if made != locked.output:
        raise differs(role, locked.output, made, "the converter is not deterministic here; please report this")
