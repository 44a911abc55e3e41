"""Derive the requests to converters and quantizers from recipe and lock: by name, with options, overrides expanded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from lftool.api import ConverterType, QuantizerType, TransformSpec
from lftool.api.records import KNOWN_FORMATS
from lftool.errors import RecipeError, UnavailableError
from lftool.host.given_options import given_options
from lftool.pipeline.graph.graphs import Requests
from lftool.pipeline.graph.steps import TransformRequest
from lftool.pipeline.model.parts import GGUF_TYPES, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.api.gguf import GGUFHeader
    from lftool.host.registry import Registered, Registry
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe, TargetSpec
    from lftool.pipeline.model.parts import ModelParts, Part

KEEP_TYPES = "source"  # a converter's `produces` if weights keep their types


def requests_of(recipe: Recipe, lock: Lock, parts: ModelParts, targets: Sequence[str], registry: Registry) -> Requests:
    """Return the requests to the transforms of `targets`; those that the lock does not name come from the registry.

    Raises:
        UnavailableError: No installed plugin can do it.
        RecipeError: Unknown file type or quantizer, or the recipe asks to convert a GGUF.
    """
    for role in recipe.model.options:
        if role not in parts.by_role or parts.by_role[role].is_gguf:
            raise RecipeError(f"model.options.{role}: nothing is converted for {role}, so no converter takes them")
    if parts.weights.is_gguf and recipe.model.intermediate is not None:
        raise RecipeError(
            f"model.intermediate: source {parts.weights.source!r} is a GGUF, so nothing is converted",
            hints=("leave it out; a target's `quantize` gives the weights another type",),
        )
    return Requests(
        convert={
            role: _conversion(part, recipe, lock, registry) for role, part in parts.by_role.items() if not part.is_gguf
        },
        quantize={
            name: _quantization(name, recipe.targets[name], lock, registry)
            for name in targets
            if recipe.targets[name].quantize is not None
        },
        compiled={
            name: runtime
            for name in targets
            if (runtime := _runtime(name, lock)) is not None and lock.runtimes[runtime].output is not None
        },
    )


def _runtime(target: str, lock: Lock) -> str | None:
    locked = lock.targets.get(target)
    return None if locked is None else locked.runtime


def _conversion(part: Part, recipe: Recipe, lock: Lock, registry: Registry) -> TransformRequest:
    role, source = part.role, part.source
    produces = recipe.model.intermediate if role == WEIGHTS else None
    locked = lock.convert.get(role)
    name = None if locked is None else locked.converter_name
    if name is None:
        registered = registry.converter(part.format, produces or KEEP_TYPES, GGUF_TYPES[role])
        if registered is None:
            kept = "" if produces is None else f" of type {produces}"
            raise UnavailableError(
                f"source {source!r} holds {part.format}, and no installed plugin converts that to GGUF{kept}",
                hints=("install one: pip install 'lftool[cpu,convert]'", "or point the source at a GGUF file")
                if part.format in KNOWN_FORMATS
                else ("install the plugin that the lock was made with",),
            )
        if not registered.record.deterministic:
            raise RecipeError(
                f"the converter {registered.record.name!r} does not make the same bytes twice; a bundle cannot be locked"
            )
        name = registered.record.name
    return TransformRequest(
        transform=name,
        produces=produces or KEEP_TYPES,
        name=model_name(recipe.sources[source].uri),
        options=dict(recipe.model.options.get(role, {})),
    )


def _quantization(target: str, spec: TargetSpec, lock: Lock, registry: Registry) -> TransformRequest:
    locked = lock.targets.get(target)
    stage = None if locked is None else locked.quantize
    name = None if stage is None else stage.quantizer
    return TransformRequest(
        transform=name or registry.quantizer(spec.quantize or "", spec.quantizer).record.name,
        mixture=(stage.mixture if stage else None) or "",
        produces=spec.quantize or "",
        overrides=dict(spec.overrides),
        options=dict(spec.options),
    )


def model_name(uri: str) -> str:
    """Return a source URI's name for the model: the last part of its path, without revision and fragment."""
    path = re.split("[@?#]", uri.partition(":")[2])[0]
    return path.rstrip("/").rpartition("/")[2] or "model"


def converter_of(request: TransformRequest, registry: Registry) -> Registered[ConverterType]:
    """Return the converter for a request.

    Raises:
        UnavailableError: It is not installed.
    """
    return registry.get(ConverterType, request.transform, UnavailableError)


def quantizer_of(request: TransformRequest, registry: Registry) -> Registered[QuantizerType]:
    """Return the quantizer for a request.

    Raises:
        RecipeError: Unknown file type or quantizer.
    """
    return registry.quantizer(request.produces, request.transform)


def convert_spec(request: TransformRequest, role: str, registry: Registry) -> TransformSpec:
    """Return the spec for a converter.

    Raises:
        RecipeError: Unknown option.
        UnavailableError: The converter is not installed.
    """
    record = converter_of(request, registry).record
    where = f"lftool.toml: $.model.options.{role}"
    options = given_options(record, request.options, "converter", where, RecipeError)
    return TransformSpec(produces=request.produces, name=request.name, options=options)


def quantize_spec(request: TransformRequest, header: GGUFHeader, target: str, registry: Registry) -> TransformSpec:
    """Return the spec for a quantizer, given the header of the weights.

    Raises:
        RecipeError: Unknown file type, quantizer or option, or an override that cannot be met.
        UnavailableError: The quantizer does not know the rules by which the lock's types were chosen.
    """
    record = quantizer_of(request, registry).record
    if not record.deterministic:
        raise RecipeError(
            f"the quantizer {record.name!r} does not make the same bytes twice; a bundle cannot be locked"
        )
    if record.alignment not in {None, header.alignment}:
        raise RecipeError(
            f"targets.{target}: tensors of the weights are aligned to {header.alignment} bytes, but the quantizer"
            f" {record.name!r} supports only {record.alignment}",
            hints=("leave `quantizer` out, or choose a file type that another quantizer makes: lftool plugins list",),
        )
    where = f"lftool.toml: $.targets.{target}.options"
    try:
        options = given_options(record, request.options, "quantizer", where, RecipeError)
    except RecipeError as error:
        error.hints = (*error.hints, *_who_knows(request, record, registry))
        raise
    from lftool.pipeline.model.overrides import expand_overrides  # noqa: PLC0415 - a finished build plans nothing

    if request.mixture and request.mixture not in record.mixtures:
        raise UnavailableError(
            f"targets.{target}: the lock's types were chosen by {request.mixture}, which the installed quantizer"
            f" {record.name!r} does not know",
            hints=(
                f"install a newer {record.name!r}",
                f"or accept the types that it chooses: lftool lock --upgrade tool:{record.name}",
            ),
        )
    overrides = expand_overrides(request.overrides, header, target)
    return TransformSpec(produces=request.produces, overrides=overrides, options=options, mixture=request.mixture)


def _who_knows(request: TransformRequest, record: QuantizerType, registry: Registry) -> tuple[str, ...]:
    """Return hints that name other quantizers with the options that `record` lacks."""
    unknown = set(request.options) - _option_names(record)
    return tuple(
        f'the quantizer {other.record.name!r} has the option {name}: quantizer = "{other.record.name}"'
        for other in registry.all(QuantizerType)
        if request.produces in other.record.produces
        for name in sorted(unknown & _option_names(other.record))
    )


def _option_names(record: QuantizerType) -> set[str]:
    cls = record.options_class
    return set() if cls is None else {field.name for field in attrs.fields(cls)}
