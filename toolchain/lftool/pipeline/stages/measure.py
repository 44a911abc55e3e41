"""Measure how well quantised weights predict a text, compared with the unquantised ones; a backend does it, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import (
    EmbeddingFigures,
    Figures,
    QualityFigures,
    QualityRequest,
    TensorDone,
)
from lftool.codec.canonical import canonical_json
from lftool.errors import PolicyError, RecipeError, StorageError
from lftool.models.digest import Artifact, Digest
from lftool.pipeline.identity import quality_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lftool.api import Finding, ProjectFiles
    from lftool.pipeline.model.planned_checks import PlannedCheck
    from lftool.pipeline.ports import Ports

_DIGITS = 6
_MOST_TEXT_BYTES = 1 << 30


@frozen(kw_only=True)
class Quality:
    """Figures, and the weights and text that they are about.

    Attributes:
        weights: The quantised weights.
        reference: The unquantised weights.
        text: The text.
        text_name: Name of the text's file.
    """

    figures: Figures
    weights: Artifact
    reference: Artifact
    text: Artifact
    text_name: str

    def predicate(self) -> dict[str, Any]:
        """Return plain data for a statement; numbers are decimal strings, since canonical JSON has no reals."""
        figures = self.figures
        text = {"name": self.text_name, "digest": {"sha256": self.text.sha256.hex}, "size": str(self.text.size)}
        weights = {"digest": {"sha256": self.weights.sha256.hex}}
        reference = {"digest": {"sha256": self.reference.sha256.hex}}
        if isinstance(figures, EmbeddingFigures):
            return {
                "text": text,
                "weights": weights,
                "reference": reference,
                "texts": str(figures.texts),
                "cosine": {"mean": decimal(figures.cosine_mean), "least": decimal(figures.cosine_least)},
                "tool": figures.tool,
                "machine": figures.machine,
            }
        return {
            "text": text,
            "weights": weights,
            "reference": {**reference, "perplexity": decimal(figures.reference_perplexity)},
            "context": str(figures.context),
            "tokens": str(figures.tokens),
            "perplexity": decimal(figures.perplexity),
            "klDivergence": {"mean": decimal(figures.kl_divergence), "max": decimal(figures.kl_divergence_max)},
            "sameTopToken": decimal(figures.same_top),
            "tool": figures.tool,
            "machine": figures.machine,
        }


def decimal(value: float) -> str:
    """Return a number with six digits after the decimal point."""
    return f"{value:.{_DIGITS}f}"


@frozen(kw_only=True)
class Text:
    """A text to predict, already read, so that later changes to the file do not matter."""

    name: str
    data: bytes


def read_text(path: Path) -> Text:
    """Return the text in a user's file.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        return Text(name=path.name, data=path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read the text {path.name}: {error.strerror}") from None


@frozen(kw_only=True)
class Comparison:
    """What quantised weights are compared with, and how.

    Attributes:
        backend: The backend that measures.
        text: The text.
        context: Tokens that are evaluated together; None for the backend's default.
        reference: The unquantised weights.
        prepare: Brings the unquantised weights into the store; called only if there is something to measure.
    """

    backend: str
    text: Text
    context: int | None
    reference: Artifact
    prepare: Callable[[], object] = lambda: None


def measure(target: str, weights: Artifact, comparison: Comparison, ports: Ports) -> Quality:
    """Return the quality of one target's weights; see `measure_targets`."""
    return measure_targets({target: weights}, comparison, ports)[target]


def measure_targets(targets: Mapping[str, Artifact], comparison: Comparison, ports: Ports) -> dict[str, Quality]:
    """Return the quality of weights in the store, remembered or measured; what is measured, in one pass of the reference.

    Args:
        targets: A target's name in messages to its quantised weights, in the store.
        comparison: What they are compared with.
        ports: Store, registry and threads.

    Raises:
        UnavailableError: The backend is not installed, or cannot measure.
        RecipeError: The text is too short.
    """
    text, reference = comparison.text, comparison.reference
    artifact = ports.store.blobs.put_bytes(text.data, f"the text {text.name}")
    keys = {
        target: _key(comparison.backend, artifact, comparison.context, weights, reference, ports)
        for target, weights in targets.items()
    }
    missing = {
        target: weights for target, weights in targets.items() if not ports.store.remembers(keys[target], "figures")
    }
    made = _measured(missing, artifact, comparison, ports) if missing else {}
    found = {}
    for target, weights in targets.items():

        def make(target: str = target, weights: Artifact = weights) -> bytes:
            again = made if target in made else _measured({target: weights}, artifact, comparison, ports)
            return _stored(again[target])

        figures = _remembered(json.loads(ports.store.remembered_bytes(keys[target], "figures", make)))
        found[target] = Quality(
            figures=figures, weights=weights, reference=reference, text=artifact, text_name=text.name
        )
    return found


def _measured(
    targets: Mapping[str, Artifact], text: Artifact, comparison: Comparison, ports: Ports
) -> dict[str, Figures]:
    registered = ports.registry.backend(comparison.backend)
    comparison.prepare()
    name, named = comparison.text.name, ", ".join(targets)
    with ports.stage("check", named, f"quality on {name}"):
        requests = [
            QualityRequest(
                weights=ports.store.blobs.require(weights, f"the weights of {target}"),
                reference=ports.store.blobs.require(comparison.reference, "the unquantised weights"),
                text=ports.store.blobs.require(text, f"the text {name}"),
                text_name=name,
                context=comparison.context,
                threads=ports.threads,
            )
            for target, weights in targets.items()
        ]
        figures = ports.isolated.measure(
            registered,
            requests,
            lambda _, index, count: ports.emit(
                TensorDone(stage="check", target=named, tensor="", index=index, count=count)
            ),
        )
    return dict(zip(targets, figures, strict=True))


def _stored(figures: Figures) -> bytes:
    return canonical_json({name: str(value) for name, value in attrs.asdict(figures).items()})


def _key(
    backend: str, text: Artifact, context: int | None, weights: Artifact, reference: Artifact, ports: Ports
) -> Digest:
    registered = ports.registry.backend(backend)
    plugin = "" if registered.origin.is_builtin else ports.registry.digest(registered.origin).hex
    return quality_key(plugin, backend, context, weights, reference, text)


def is_measured(
    backend: str, text: Text, context: int | None, weights: Artifact, reference: Artifact, ports: Ports
) -> bool:
    """Return whether `measure` would return a remembered result."""
    key = _key(backend, Artifact.of(text.data), context, weights, reference, ports)
    return ports.store.remembers(key, "figures")


def _remembered(plain: dict[str, str]) -> Figures:
    """Return figures from their stored text."""
    cls = EmbeddingFigures if "texts" in plain else QualityFigures
    kinds = {field.name: str(field.type) for field in attrs.fields(cls)}
    return cls(**{name: {"int": int, "float": float}.get(kinds[name], str)(value) for name, value in plain.items()})


def project_text(name: str, files: ProjectFiles) -> Text:
    """Return a text in the project.

    Args:
        name: Its path, relative to the recipe.
        files: Opens files of the project.

    Raises:
        RecipeError: It is outside the project and its roots.
        StorageError: It cannot be read.
    """
    return Text(name=name.rpartition("/")[2], data=files.read(name, "checks", _MOST_TEXT_BYTES))


def text_of(check: PlannedCheck, files: ProjectFiles) -> Text:
    """Return the text of a perplexity check. May raise as `project_text` does."""
    return project_text(check.arguments[0].text, files)


def context_of(check: PlannedCheck) -> int | None:
    """Return the number of tokens that a perplexity check evaluates together; None for the backend's default."""
    context: int | None = check.arguments[0].context
    return context


def require(check: PlannedCheck, quality: Quality, target: str) -> Figures:
    """Return the figures if they pass a perplexity check.

    Raises:
        PolicyError: Perplexity rose by more than the check allows.
        RecipeError: The model generates no text, so it has no perplexity.
    """
    judging: Any = check.make()
    try:
        finding: Finding = judging.judge(quality.figures)
    except RecipeError as error:
        raise RecipeError(f"targets.{target}: {error.message}", hints=error.hints) from None
    if finding.failure is None:
        return quality.figures
    raise PolicyError(
        f"targets.{target}: {finding.failure}",
        hints=("quantise less, use an importance matrix, or keep sensitive tensors under `overrides`",),
    )
