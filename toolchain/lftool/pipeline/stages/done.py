"""Stages that need not run again: their outputs count as made and are in the store. Loads no plugin to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.pipeline.model.parts import WEIGHTS

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.models.lock import LockedConvert, LockedQuantize
    from lftool.pipeline.graph.steps import Convert, Quantize
    from lftool.pipeline.ports import Ports


def done_already(stage: LockedConvert | LockedQuantize, ports: Ports) -> Artifact | None:
    """Return the output of a stage that need not run again: it counts as made, and is in the store and checked."""
    made = ports.records.known(stage.action, WEIGHTS, stage.output)
    return made.output if made is not None and ports.store.blobs.is_sound(made.output) else None


def with_output(stage: LockedQuantize, made: Artifact) -> LockedQuantize:
    """Return a stage with its output filled in."""
    return attrs.evolve(stage, sha256=made.sha256, size=made.size)


def converted_already(step: Convert, ports: Ports) -> LockedConvert | None:
    """Return the entry of a GGUF that need not be made again; report it to observers if the step is cached."""
    if step.locked is None or done_already(step.locked, ports) is None:
        return None
    if step.cached:
        with ports.stage("convert", step.role, step.detail, cached=True):
            pass
    return step.locked


def quantized_already(step: Quantize, ports: Ports) -> LockedQuantize | None:
    """Return the entry of quantised weights that need not be made again; report it to observers once per target."""
    made = None if step.locked is None else done_already(step.locked, ports)
    if made is None or step.locked is None:
        return None
    for name in step.targets:
        with ports.stage("quantize", name, step.detail, cached=True):
            pass
    return with_output(step.locked, made)
