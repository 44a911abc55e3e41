"""`lftool quality`: measure how well targets' weights predict a text; write a signed statement next to each bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import Notice
from lftool.bundle.bundle_files import opened
from lftool.errors import LockError, UsageError, instead_of
from lftool.formats.fallbacks import outcome
from lftool.ops.build import BuildOptions, build_project
from lftool.ops.fingerprint import fingerprint
from lftool.ops.models.tensor_set import FORM
from lftool.pipeline.building.builds import make_weights
from lftool.pipeline.model.parts import WEIGHTS, model_parts
from lftool.pipeline.model.weights import weights_header
from lftool.pipeline.stages.measure import Comparison, Quality, measure_targets, read_text
from lftool.pipeline.stages.signature import open_key
from lftool.store.durable import write_durably
from lftool.trust.signing import sign_statement
from lftool.trust.statement import QUALITY_TYPE, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.models.digest import Artifact
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.stages.finished import BuiltBundle

SUFFIX = ".quality.sigstore.json"


@frozen(kw_only=True)
class QualityOptions:
    """How to measure.

    Attributes:
        targets: Names of targets; empty for all that are quantised.
        text: File of the text.
        context: Tokens that are evaluated together; None for the backend's default.
        build: Options for building the bundles, if they are missing.
    """

    targets: tuple[str, ...]
    text: Path
    context: int | None
    build: BuildOptions


@frozen(kw_only=True)
class MeasuredQuality:
    """One target's measurement.

    Attributes:
        target: Its name.
        quality: What was measured.
        predicate: That as data, with the fingerprint of the weights: what a statement says.
        bits: Bits per weight.
        statement: The statement's file; None if there is no signing key.
    """

    target: str
    quality: Quality
    predicate: Mapping[str, Any]
    bits: float
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


def _chosen(project: Project, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the targets to measure.

    Raises:
        UsageError: There is none of that name, or it is not quantised.
    """
    targets = project.recipe.targets
    for name in names:
        if name not in targets:
            raise UsageError(f"the recipe has no target {name!r}; {instead_of(name, targets)}")
        if targets[name].quantize is None:
            raise UsageError(f"targets.{name} is not quantised: there is nothing to compare it with")
    found = names or tuple(name for name, spec in targets.items() if spec.quantize is not None)
    if not found:
        raise UsageError("the recipe quantises no target: there is nothing to compare")
    return found


def measure_bundles(project: Project, ports: Ports, options: QualityOptions) -> tuple[MeasuredQuality, ...]:
    """Build targets if needed, measure their weights against the unquantised ones, and sign the results.

    Raises:
        UsageError: A target is not quantised.
        LftoolError: Whatever building or measuring raises.
    """
    recipe, chosen = project.recipe, _chosen(project, options.targets)
    bundles = build_project(project, ports, attrs.evolve(options.build, targets=chosen))
    lock = project.read_lock()
    if lock is None or any(built.weights is None for built in bundles):
        raise LockError("the lock disappeared while the bundle was being built")
    parts, text = model_parts(recipe, lock), read_text(options.text)
    reference, found = parts.artifact(WEIGHTS), dict[str, Quality]()
    with ports.store.in_use():
        for backend in sorted({recipe.targets[name].backend for name in chosen}):
            comparison = Comparison(
                backend=backend,
                text=text,
                context=options.context,
                reference=reference,
                prepare=lambda: make_weights(recipe, lock, parts, ports),
            )
            weights = {
                built.target: built.weights
                for built in bundles
                if recipe.targets[built.target].backend == backend and built.weights is not None
            }
            found |= measure_targets(weights, comparison, ports)
        bits = {
            name: outcome(weights_header(quality.weights, f"the weights of {name}", ports).tensors, {}, "").bits
            for name, quality in found.items()
        }
        predicates = {name: _predicate(quality, ports) for name, quality in found.items()}
    _say_what_the_reference_is(reference, ports)
    statements = _sign(project, ports, options, bundles, predicates)
    return tuple(
        MeasuredQuality(
            target=name,
            quality=found[name],
            predicate=predicates[name],
            bits=bits[name],
            statement=statements.get(name),
        )
        for name in chosen
    )


def _predicate(quality: Quality, ports: Ports) -> dict[str, Any]:
    """Return what a statement says: what was measured, and the fingerprint of the weights, which any copy of them has."""
    said = quality.predicate()
    path = ports.store.blobs.require(quality.weights, "the measured weights")
    found = fingerprint(str(path), ports)
    return {**said, "weights": {**said["weights"], "fingerprint": f"{FORM}:{found.sha256}"}}


def _sign(
    project: Project,
    ports: Ports,
    options: QualityOptions,
    bundles: Sequence[BuiltBundle],
    predicates: Mapping[str, Mapping[str, Any]],
) -> dict[str, Path]:
    """Write a signed statement beside each bundle; return them by target."""
    sign = project.recipe.sign
    if sign is None or not options.build.sign:
        why = "the recipe has no [sign]" if sign is None else "--no-sign"
        ports.emit(Notice(text=f"not writing a statement: {why}"))
        return {}
    key = open_key(sign, options.build.sign_key, ports)
    written = {}
    for built in bundles:
        with opened(built.path) as bundle:
            stem = bundle.manifest.stem
        statement = Statement(
            bundle=stem,
            manifest=built.manifest,
            unsigned=built.unsigned.sha256,
            predicate=predicates[built.target],
            predicate_type=QUALITY_TYPE,
        )
        path = built.path.with_name(stem + SUFFIX)
        write_durably(path, sign_statement(statement, key.signer, key.verifier), "statement")
        written[built.target] = path
    return written
