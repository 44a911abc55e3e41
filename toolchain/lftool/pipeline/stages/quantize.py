"""quantize: pinned weights become the file that the plan describes, in a child process, checked before it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import TransformPlan, TransformSpec
from lftool.errors import FormatError, NotReproducibleError
from lftool.formats.fallbacks import outcome
from lftool.formats.gguf import read_gguf
from lftool.models.digest import Artifact
from lftool.models.lock import LockedQuantize
from lftool.pipeline.accelerating import accelerated
from lftool.pipeline.identity import plan_digest
from lftool.pipeline.pins import require_pinned_plugin
from lftool.pipeline.progress import tensor_progress
from lftool.pipeline.tools import (
    Tool,
    input_files,
    mixture_of,
    plan_transform,
    require_pinned_fingerprint,
    spec_to_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.models.lock import Lock
    from lftool.pipeline.ports import Ports


@frozen(kw_only=True)
class QuantizeTask:
    """One quantize stage: which target of which backend, what to make of which inputs, and what the lock expects."""

    target: str
    backend: str
    spec: TransformSpec
    options: dict[str, Any]
    inputs: dict[str, Artifact]
    locked: LockedQuantize


def check_output(path: Path, plan: TransformPlan, name: str) -> None:
    """Raise FormatError unless what a transform made is a sound GGUF with exactly the tensors and types of its plan.

    Args:
        path: What it made.
        plan: Its plan; one without tensors leaves them open.
        name: Name of the transform.
    """
    what = f"the output of {name}"
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, what)
    made = {tensor.name: tensor.type.name for tensor in header.tensors}
    if not made:
        raise FormatError(f"{what} has no tensors")
    planned = {item.tensor: item.type for item in plan.tensors}
    if not planned:
        return
    wrong = sorted(name for name in made.keys() | planned.keys() if made.get(name) != planned.get(name))
    if wrong:
        name = wrong[0]
        raise FormatError(f"{what}: tensor {name} is {made.get(name)}, planned was {planned.get(name)}")


def quantize(task: QuantizeTask, tool: Tool, lock: Lock, threads: int, ports: Ports) -> Artifact:
    """Return the quantised weights, from the action cache or by making them.

    Raises:
        NotReproducibleError: What was made is not what the lock names.
        UnavailableError: The installed plugin or tool is not the pinned one.
        FormatError: The input or the output is no sound GGUF.
    """
    locked = task.locked
    with ports.store.doing(locked.action):
        known = ports.records.known(locked.action, "weights", locked.output)
        if known is not None and ports.store.blobs.is_sound(known.output):
            with ports.stage("quantize", task.target, task.spec.produces, cached=True):
                return known.output
        require_pinned_tool(tool, locked, lock, ports)
        plan = plan_transform(tool, task.spec, task.options, task.inputs, ports)
        require_locked_plan(task, plan)
        expected = lock.tools[locked.semantics].fingerprints[locked.uses]
        executing = accelerated(tool, task.backend, locked.uses, expected, lock, ports)
        made = _run(task, executing, plan, threads, ports)
        accept(task, made, ports)
        return made


def require_pinned_tool(tool: Tool, locked: LockedQuantize, lock: Lock, ports: Ports) -> None:
    """Raise UnavailableError unless the quantizer, and the one that chooses its types, are the pinned ones."""
    for needed in (tool, mixture_of(tool, ports)):
        if needed is not None:
            require_pinned_plugin(needed.registered.origin, lock, ports)
    require_pinned_fingerprint(tool, locked.semantics, locked.uses, lock.tools[locked.semantics], ports)


def accept(task: QuantizeTask, made: Artifact, ports: Ports) -> None:
    """Remember what was made, if it is what the lock names.

    Raises:
        NotReproducibleError: It is not.
    """
    locked = task.locked
    if locked.output is not None and made != locked.output:
        raise NotReproducibleError(
            f"targets.{task.target}, stage quantize: the lock names sha256 {locked.output.sha256}"
            f" ({locked.output.size} bytes), this build made sha256 {made.sha256} ({made.size} bytes)",
            hints=(
                "what this build made is in the cache; the tool or the machine differs in a way its fingerprint does not show",
            ),
        )
    ports.records.put(locked.action, {"weights": made})


def require_locked_plan(task: QuantizeTask, plan: TransformPlan) -> None:
    """Raise NotReproducibleError unless `plan` is the one that the lock names."""
    got = plan_digest(plan)
    if got != task.locked.plan:
        raise NotReproducibleError(
            f"targets.{task.target}, stage quantize: the lock names plan {task.locked.plan}, the tool plans {got}",
            hints=("lock again: lftool lock --upgrade tool:" + task.locked.semantics,),
        )


def _run(task: QuantizeTask, tool: Tool, plan: TransformPlan, threads: int, ports: Ports) -> Artifact:
    inputs = input_files(task.inputs, ports)
    spec = spec_to_run(tool, task.spec, plan)
    with inputs["weights"].path.open("rb") as file:
        header = read_gguf(file, inputs["weights"].artifact.size, "the weights")
    sizes = {tensor.name: tensor.size for tensor in header.tensors}
    progress = tensor_progress("quantize", task.target, sizes, ports)
    with ports.stage("quantize", task.target, task.spec.produces) as running:
        made = ports.store.blobs.put_with(
            lambda path: ports.isolated.run(tool.registered, spec, task.options, inputs, path, threads, progress),
            lambda path: check_output(path, plan, tool.registered.record.name),
        )
        came = outcome(header.tensors, {item.tensor: item.type for item in plan.tensors}, task.spec.produces)
        running.detail = f"{task.spec.produces}, {made.size / 1e6:.1f} MB, {came.sentence}"
    return made
