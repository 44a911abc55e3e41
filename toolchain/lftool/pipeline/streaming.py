"""Whether a build can quantise weights while they are converted, and doing it as the lock says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.pipeline.accelerating import accelerated
from lftool.pipeline.recall import done_already
from lftool.pipeline.stages.convert import ROLE, pinned_converter, require_locked_output
from lftool.pipeline.stages.fetch import fetch_locked
from lftool.pipeline.stages.quantize import QuantizeTask, accept, require_locked_plan, require_pinned_tool
from lftool.pipeline.stages.stream import Consumer, convert_and_quantize, most_consumers
from lftool.pipeline.tasks import conversions, quantization_of, quantizer_of
from lftool.pipeline.tools import input_files, plan_ahead, tool_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.api import GGUFHeader, InputFile
    from lftool.models.digest import Artifact
    from lftool.models.lock import Lock, LockedQuantize
    from lftool.models.recipe import Recipe
    from lftool.pipeline.model_parts import ModelParts
    from lftool.pipeline.ports import Ports


def _stage(lock: Lock, target: str) -> LockedQuantize:
    stage = lock.targets[target].quantize
    assert stage is not None  # noqa: S101 - callers pass targets that are quantised
    return stage


def to_stream(recipe: Recipe, lock: Lock, parts: ModelParts, targets: Sequence[str], ports: Ports) -> tuple[str, ...]:
    """Return those of `targets` that are to be quantised while the weights are converted; none where that cannot be.

    Args:
        recipe: The recipe.
        lock: Its fresh lock.
        parts: What the model is made of.
        targets: Targets that need the weights, quantised or not; one for each quantisation.
        ports: Store and registry.
    """
    converting = lock.convert.get(ROLE)
    if converting is None or done_already(converting, ports) is not None:
        return ()
    if recipe.measured or any(lock.targets[target].quantize is None for target in targets):
        return ()  # checks compare with the unquantised weights
    left = tuple(name for name in targets if done_already(_stage(lock, name), ports) is None)
    if not left:
        return ()
    wanted = conversions(recipe, parts, ports)[ROLE]
    quantizers = [quantizer_of(name, recipe.targets[name], ports, _stage(lock, name).quantizer) for name in left]
    streams = all(item.record.streams for item in quantizers)
    fits = len(left) <= most_consumers(ports)
    return left if streams and fits and wanted.registered.record.streams else ()


def stream_targets(
    recipe: Recipe, lock: Lock, parts: ModelParts, targets: Sequence[str], ports: Ports
) -> dict[str, Artifact]:
    """Convert the weights and quantise them for `targets` in one pass; return target to quantised weights.

    Raises:
        NotReproducibleError: Something came out otherwise than the lock says.
        LftoolError: Whatever a stage raises.
    """
    converting, wanted = lock.convert[ROLE], conversions(recipe, parts, ports)[ROLE]
    for name, file in [*parts.conversion_files(ROLE), *parts.imatrix_files]:
        fetch_locked(lock, name, file, ports)
    imatrix = parts.imatrix_input
    actions = {_stage(lock, target).action for target in targets} | {converting.action}
    with contextlib.ExitStack() as stack:
        for action in sorted(actions, key=lambda item: item.hex):  # in one order, or two builds wait for each other
            stack.enter_context(ports.store.doing(action))
        left = [name for name in targets if done_already(_stage(lock, name), ports) is None]
        if not left:
            return {}
        tool, plan = pinned_converter(wanted, converting, lock, ports)
        tasks: list[QuantizeTask] = []
        memories: list[Callable[[dict[str, Artifact]], None]] = []

        def consumer(target: str, header: GGUFHeader, files: dict[str, InputFile]) -> Consumer:
            locked = _stage(lock, target)
            asked = quantization_of(recipe, header, imatrix, target, ports, locked.quantizer)
            quantizer = tool_of(asked.registered, ports)
            require_pinned_tool(quantizer, locked, lock, ports)
            chosen, remember = plan_ahead(quantizer, asked.spec, asked.options, files, ports, checked=True)
            backend = recipe.targets[target].backend
            task = QuantizeTask(
                target=target, backend=backend, spec=asked.spec, options=asked.options, inputs=imatrix, locked=locked
            )
            require_locked_plan(task, chosen)
            tasks.append(task)
            memories.append(remember)
            expected = lock.tools[locked.semantics].fingerprints[locked.uses]
            executing = accelerated(quantizer, backend, locked.uses, expected, lock, ports)
            return Consumer(
                target=target, tool=executing, spec=asked.spec, options=asked.options, inputs=imatrix, plan=chosen
            )

        def choose(header: GGUFHeader, weights: InputFile) -> list[Consumer]:
            files = {**input_files(imatrix, ports), "weights": weights}
            return [consumer(target, header, files) for target in left]

        streamed = convert_and_quantize(wanted, tool, plan, choose, ports)
        require_locked_output(ROLE, converting, streamed.weights)
        ports.records.put(converting.action, {"weights": streamed.weights})
        for task, made, remember in zip(tasks, streamed.made, memories, strict=True):
            accept(task, made, ports)
            remember({**imatrix, "weights": streamed.weights})
        return dict(zip(left, streamed.made, strict=True))
