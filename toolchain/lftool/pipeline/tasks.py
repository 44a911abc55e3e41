"""From a recipe and pins to what converters and quantizers are asked: inputs, options, expanded overrides."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import ConverterType, QuantizerType, TransformSpec
from lftool.bundle.model_card import ModelCard, model_card
from lftool.codec.canonical import canonical_json
from lftool.codec.options import canonical_options
from lftool.codec.toml_in import structure
from lftool.errors import RecipeError, UnavailableError
from lftool.formats.gguf import MendableError, read_gguf
from lftool.host.registry import Registered
from lftool.models.digest import Artifact
from lftool.pipeline.headers import header_of
from lftool.pipeline.identity import card_key
from lftool.pipeline.overrides import expand_overrides

if TYPE_CHECKING:
    from lftool.api import GGUFHeader
    from lftool.models.recipe import Recipe, TargetSpec
    from lftool.pipeline.model_parts import ModelParts, Part
    from lftool.pipeline.ports import Ports


KEEP_TYPES = "source"  # what a converter produces when weights keep their types

# Role in a recipe to GGUF's `general.type`.
_MAKES = {"weights": "model", "lora": "adapter", "mmproj": "mmproj"}


@frozen(kw_only=True)
class Quantization:
    """What a target asks of its quantizer; `options` as the recipe wrote them."""

    registered: Registered[QuantizerType]
    spec: TransformSpec
    options: dict[str, Any]
    inputs: dict[str, Artifact]


@frozen(kw_only=True)
class Conversion:
    """What a recipe asks of a converter: which files, by their paths within the source, become what.

    Attributes:
        role: What the result is to the model: `weights`, `lora` or `mmproj`.
    """

    role: str
    registered: Registered[ConverterType]
    spec: TransformSpec
    inputs: dict[str, Artifact]


def conversions(recipe: Recipe, parts: ModelParts, ports: Ports) -> dict[str, Conversion]:
    """Return how the weights of a recipe, and what travels beside them, become GGUFs; roles that are GGUFs are left out.

    Raises:
        UnavailableError: No installed plugin does it.
        RecipeError: A source has no such files, or several.
    """
    if parts.weights.is_gguf and recipe.model.intermediate is not None:
        raise RecipeError(
            f"model.intermediate: source {parts.weights.source!r} is a GGUF, so nothing is converted",
            hints=("leave it out; a target's `quantize` gives the weights another type",),
        )
    return {role: _conversion(part, parts, recipe, ports) for role, part in parts.by_role.items() if not part.is_gguf}


def _conversion(part: Part, parts: ModelParts, recipe: Recipe, ports: Ports) -> Conversion:
    role, source = part.role, part.source
    produces = recipe.model.intermediate if role == "weights" else None
    registered = ports.registry.converter(part.format, produces or KEEP_TYPES, _MAKES[role])
    if registered is None:
        kept = "" if produces is None else f" of type {produces}"
        raise UnavailableError(
            f"source {source!r} holds {part.format}, and no installed plugin converts that to GGUF{kept}",
            hints=("install one: pip install 'lftool[cpu,convert]'", "or point the source at a GGUF file"),
        )
    if not registered.record.deterministic:
        raise RecipeError(
            f"the converter {registered.record.name!r} does not make the same bytes twice; a bundle cannot be locked"
        )
    spec = TransformSpec(produces=produces or KEEP_TYPES, name=model_name(recipe.sources[source].uri))
    return Conversion(role=role, registered=registered, spec=spec, inputs=parts.conversion_inputs(role))


def model_name(uri: str) -> str:
    """Return what a source's address calls the model: the last part of its path, without revision and fragment."""
    path = re.split("[@?#]", uri.partition(":")[2])[0]
    return path.rstrip("/").rpartition("/")[2] or "model"


def weights_header(artifact: Artifact, what: str, ports: Ports) -> GGUFHeader:
    """Return the header of weights in the store.

    Of weights that were converted and quantised in one go, only the header is there.

    Raises:
        FormatError: They are no sound GGUF.
        StorageError: They are not there.
    """
    header = None if ports.store.blobs.holds(artifact) else header_of(artifact, ports)
    path = header or ports.store.blobs.require(artifact, what)
    with path.open("rb") as file:
        try:
            return read_gguf(file, artifact.size, what)
        except MendableError as error:
            error.hints = ("write a sound copy: lftool gguf repair IN OUT",)
            raise


def check_part(part: Part, artifact: Artifact, ports: Ports) -> None:
    """Raise unless the weights, or what travels beside them, are a sound GGUF of the right kind.

    Raises:
        FormatError: It is no sound GGUF.
        RecipeError: It is something else: a model, an importance matrix, …
    """
    role, source = part.role, part.source
    header = weights_header(artifact, f"source {source!r}", ports)
    kind, expected = header.metadata.get("general.type"), _MAKES[role]
    # Projectors that older scripts of llama.cpp wrote say no type, and older models neither.
    untyped = role == "weights" or (role == "mmproj" and _architecture(header) == "clip")
    if kind != expected and not (kind is None and untyped):
        raise RecipeError(
            f"model.{role}: the GGUF of source {source!r} has general.type {kind!r}, expected {expected!r}"
        )


def _architecture(header: GGUFHeader) -> object:
    return header.metadata.get("general.architecture")


def remembered_card(artifact: Artifact, ports: Ports) -> ModelCard:
    """Return what weights in the store say of themselves; large vocabularies take a while to pass over, once.

    Raises:
        FormatError: They are no sound GGUF.
    """

    def make() -> bytes:
        card = model_card(weights_header(artifact, "the weights", ports))
        return canonical_json({"facts": dict(card.facts), "bases": [dict(base) for base in card.bases]})

    plain = json.loads(ports.store.remembered_bytes(card_key(artifact), "card", make))
    return ModelCard(facts=plain["facts"], bases=tuple(plain["bases"]))


def _who_knows(target: TargetSpec, record: QuantizerType, ports: Ports) -> tuple[str, ...]:
    """Return hints that name other quantizers which have the options that `record` has not."""
    unknown = set(target.options) - _option_names(record)
    return tuple(
        f'the quantizer {other.record.name!r} has the option {name}: quantizer = "{other.record.name}"'
        for other in ports.registry.all(QuantizerType)
        if target.quantize in other.record.produces
        for name in sorted(unknown & _option_names(other.record))
    )


def _option_names(record: QuantizerType) -> set[str]:
    return {field.name for field in attrs.fields(record.options)} if record.options else set()


def quantizer_of(
    target: str, spec: TargetSpec, ports: Ports, quantizer: str | None = None
) -> Registered[QuantizerType]:
    """Return the quantizer of a target.

    Args:
        target: Name of the target.
        spec: The target.
        ports: Its registry is asked.
        quantizer: The quantizer that the lock names; the recipe's choice, or the preferred one, by default.

    Raises:
        RecipeError: Unknown file type or quantizer.
    """
    if spec.quantize is None:
        raise RecipeError(f"targets.{target} has no quantize stage")
    return ports.registry.quantizer(spec.quantize, quantizer or spec.quantizer)


def quantization(
    recipe: Recipe, parts: ModelParts, target: str, ports: Ports, quantizer: str | None = None
) -> Quantization:
    """Return what `target` asks of its quantizer; its weights, or their header, must be in the store.

    Args:
        recipe: The recipe.
        parts: What its model is made of.
        target: Name of the target.
        ports: Store and registry.
        quantizer: As `quantizer_of` takes it.

    Raises:
        RecipeError: Unknown file type, quantizer or option, or an override that cannot be met.
        FormatError: The weights are no sound GGUF.
    """
    inputs = parts.quantize_inputs
    header = weights_header(inputs["weights"], f"source {parts.weights.source!r}", ports)
    return quantization_of(recipe, header, inputs, target, ports, quantizer)


def quantization_of(
    recipe: Recipe,
    header: GGUFHeader,
    inputs: dict[str, Artifact],
    target: str,
    ports: Ports,
    quantizer: str | None = None,
) -> Quantization:
    """Return what `target` asks of its quantizer, given the header of its weights.

    Raises:
        RecipeError: Unknown file type, quantizer or option, or an override that cannot be met.
    """
    target_spec = recipe.targets[target]
    registered = quantizer_of(target, target_spec, ports, quantizer)
    record = registered.record
    if not record.deterministic:
        raise RecipeError(
            f"the quantizer {record.name!r} does not make the same bytes twice; a bundle cannot be locked"
        )
    if record.alignment not in {None, header.alignment}:
        raise RecipeError(
            f"targets.{target}: tensors of the weights are aligned to {header.alignment} bytes, and the quantizer"
            f" {record.name!r} makes broken files of all but {record.alignment}",
            hints=("leave `quantizer` out, or choose a file type that another quantizer makes: lftool plugins list",),
        )
    where = f"lftool.toml: targets.{target}.options"
    if record.options is None and target_spec.options:
        raise RecipeError(
            f"{where}: the quantizer {record.name!r} has no options", hints=_who_knows(target_spec, record, ports)
        )
    try:
        options = structure(dict(target_spec.options), record.options, where, RecipeError) if record.options else None
    except RecipeError as error:
        error.hints = (*error.hints, *_who_knows(target_spec, record, ports))
        raise
    overrides = expand_overrides(target_spec.overrides, header, target)
    spec = TransformSpec(produces=target_spec.quantize or "", overrides=overrides, options=options)
    return Quantization(registered=registered, spec=spec, options=canonical_options(target_spec.options), inputs=inputs)
