"""`lftool quality`: measure how well a target's weights predict a text; write a signed statement next to its bundle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import Notice
from lftool.bundle.reader import opened
from lftool.errors import LockError, UsageError
from lftool.ops.build import BuildOptions, build_project
from lftool.pipeline.building.builds import make_weights
from lftool.pipeline.model.parts import WEIGHTS, model_parts
from lftool.pipeline.model.weights import weights_header
from lftool.pipeline.stages.measure import Quality, measure, read_text
from lftool.pipeline.stages.sign import open_key
from lftool.store.durable import write_durably
from lftool.trust.signing import sign_statement
from lftool.trust.statement import QUALITY_TYPE, Statement

if TYPE_CHECKING:
    from lftool.models.digest import Artifact
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports

SUFFIX = ".quality.sigstore.json"


@frozen(kw_only=True)
class QualityOptions:
    """How to measure.

    Attributes:
        target: Name of the target.
        text: File of the text.
        context: Tokens that are evaluated together; None for the backend's default.
        build: Options for building the bundle, if it is missing.
    """

    target: str
    text: Path
    context: int | None
    build: BuildOptions


@frozen(kw_only=True)
class MeasuredQuality:
    """The measurement, and the statement's file; None if there is no signing key."""

    quality: Quality
    statement: Path | None


def _say_what_the_reference_is(reference: Artifact, ports: Ports) -> None:
    """Report it if the reference weights were already quantised by the source's author."""
    header = weights_header(reference, "the unquantised weights", ports)
    types = Counter(tensor.type.name for tensor in header.tensors if tensor.type.block_elements > 1)
    if types:
        named = ", ".join(f"{count} tensors {name}" for name, count in sorted(types.items()))
        ports.emit(
            Notice(
                text=f"the source itself is quantised ({named}): the figures compare with that, not with the original weights",
                warning=True,
            )
        )


def measure_target(project: Project, ports: Ports, options: QualityOptions) -> MeasuredQuality:
    """Build a target if needed, measure its weights against the unquantised ones, and sign the result.

    Raises:
        UsageError: The target is not quantised.
        LftoolError: Whatever building or measuring raises.
    """
    spec = project.recipe.targets.get(options.target)
    if spec is None:
        valid = ", ".join(sorted(project.recipe.targets))
        raise UsageError(f"the recipe has no target {options.target!r}; it has {valid}")
    if spec.quantize is None:
        raise UsageError(f"targets.{options.target} is not quantised: there is nothing to compare it with")
    (built,) = build_project(project, ports, attrs.evolve(options.build, targets=(options.target,)))
    lock = project.read_lock()
    if lock is None or built.weights is None:
        raise LockError("the lock disappeared while the bundle was being built")
    parts = model_parts(project.recipe, lock)
    reference = parts.artifact(WEIGHTS)
    with ports.store.in_use():
        quality = measure(
            options.target,
            spec.backend,
            read_text(options.text),
            options.context,
            built.weights,
            reference,
            ports,
            lambda: make_weights(project.recipe, lock, parts, ports),
        )
    _say_what_the_reference_is(reference, ports)
    sign = project.recipe.sign
    if sign is None or not options.build.sign:
        why = "the recipe has no [sign]" if sign is None else "--no-sign"
        ports.emit(Notice(text=f"not writing a statement: {why}"))
        return MeasuredQuality(quality=quality, statement=None)
    with opened(built.path) as bundle:
        stem = bundle.manifest.stem
    statement = Statement(
        bundle=stem,
        manifest=built.manifest,
        unsigned=built.unsigned.sha256,
        predicate=quality.predicate(),
        predicate_type=QUALITY_TYPE,
    )
    key = open_key(sign, options.build.sign_key, ports)
    path = built.path.with_name(stem + SUFFIX)
    write_durably(path, sign_statement(statement, key.signer, key.verifier), "statement")
    return MeasuredQuality(quality=quality, statement=path)
