"""The recipe, `lftool.toml`: what a person asks for (docs/reference/recipe.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import in_, min_len, optional

from lftool.models.checks import PERPLEXITY, CheckSpec
from lftool.models.names import check_name
from lftool.models.run_contract import RunContract

if TYPE_CHECKING:
    from attrs import Attribute

Intermediate = Literal["f32", "f16", "bf16"]
_CONVERTED = ("weights", "lora", "mmproj")  # roles whose files a converter may read


def _name(_instance: object, _attribute: Attribute[str], value: str) -> None:
    check_name(value)


def _names(_instance: object, attribute: Attribute[Mapping[str, object]], value: Mapping[str, object]) -> None:
    for key in value:
        check_name(key)
    if not value:
        raise ValueError(f"at least one entry is needed under {attribute.name!r}")


def _key_reference(_instance: object, _attribute: Attribute[str], value: str) -> None:
    scheme, _, rest = value.partition(":")
    if not scheme or not rest:
        raise ValueError("a key is named as file:PATH or env:NAME; secrets are never written into a recipe")


def _no_secrets(_instance: object, _attribute: Attribute[Any], value: object) -> None:
    """Raise ValueError if options name a variable: the user decides what is sent, and to whom."""
    if isinstance(value, str) and value.startswith("env:"):
        raise ValueError(
            "a recipe must not name a variable whose content is sent to a server; name the credential for its host in"
            " your credentials.toml (lftool help configuration)"
        )
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _no_secrets(_instance, _attribute, inner)


def _by_role(_instance: object, _attribute: Attribute[Any], value: Mapping[str, Any]) -> None:
    for role, options in value.items():
        if role not in _CONVERTED:
            raise ValueError(f"{role!r} is not a role; converter options go under {', '.join(_CONVERTED)}")
        if not isinstance(options, Mapping):
            raise ValueError(f"{role}: expected a table")  # noqa: TRY004 - one error kind for callers


@frozen(kw_only=True)
class BundleInfo:
    """`[bundle]`: what the result is called."""

    name: str = field(validator=_name, metadata={"doc": "Name of the bundle; part of its file name."})
    version: str = field(validator=_name, metadata={"doc": "Version of the bundle; part of its file name."})
    license: str | None = field(default=None, metadata={"doc": "SPDX licence expression of the weights."})
    description: str | None = field(default=None, metadata={"doc": "One sentence about the model."})


@frozen(kw_only=True)
class SourceSpec:
    """`[sources.NAME]`: where files come from."""

    uri: str = field(validator=min_len(1), metadata={"doc": "Where the files are; the scheme picks the source plugin."})
    include: tuple[str, ...] = field(default=(), metadata={"doc": "Globs of paths to take; all if empty."})
    exclude: tuple[str, ...] = field(default=(), metadata={"doc": "Globs of paths to leave out."})
    options: Mapping[str, Any] = field(
        factory=dict,
        validator=_no_secrets,
        metadata={"options": True, "doc": "Options of the source plugin; never a credential."},
    )


@frozen(kw_only=True)
class MetadataSpec:
    """`[model.metadata]`: GGUF keys to set and to remove."""

    set: Mapping[str, Any] = field(
        factory=dict,
        metadata={
            "options": True,
            "doc": 'GGUF keys and their values; `{ type = "f32", value = 0.5 }` names a type.',
        },
    )
    remove: tuple[str, ...] = field(default=(), metadata={"doc": "GGUF keys to remove."})


@frozen(kw_only=True)
class ModelSpec:
    """`[model]`: which source has which role."""

    weights: str = field(metadata={"doc": "Name of the source that holds the weights."})
    imatrix: str | None = field(default=None, metadata={"doc": "Name of the source that holds an importance matrix."})
    lora: str | None = field(
        default=None, metadata={"doc": "Name of the source that holds a LoRA adapter: PEFT files, or a GGUF."}
    )
    mmproj: str | None = field(
        default=None,
        metadata={
            "doc": "Name of the source that holds the projector of a multimodal model: its safetensors, or a GGUF."
        },
    )
    template: str | None = field(
        default=None,
        metadata={
            "doc": "Chat template to put into the weights: the path of a Jinja file in the project, or the name of a source that holds it."
        },
    )
    name: str | None = field(default=None, metadata={"doc": "Name of the model, for `general.name`."})
    author: str | None = field(default=None, metadata={"doc": "Author of the model, for `general.author`."})
    license: str | None = field(default=None, metadata={"doc": "Licence of the model, for `general.license`."})
    tags: tuple[str, ...] = field(default=(), metadata={"doc": "Tags, for `general.tags`."})
    metadata: MetadataSpec = field(factory=MetadataSpec)
    intermediate: str | None = field(
        default=None,
        validator=optional(in_(("f32", "f16", "bf16", "auto"))),
        metadata={
            "doc": "Type for safetensors: `f32`, `f16`, `bf16`, `auto` (the first 16-bit matrix's); default: their own."
        },
    )
    options: Mapping[str, Any] = field(
        factory=dict,
        validator=_by_role,
        metadata={"options": True, "doc": "Options of the converter plugin, by role: `[model.options.weights]`."},
    )


@frozen(kw_only=True)
class TargetSpec:
    """`[targets.NAME]`: one bundle to build."""

    layout: str = field(metadata={"doc": "How the bundle is laid out: `llamafile` starts by itself, `gguf` is a GGUF."})
    quantize: str | None = field(
        default=None,
        metadata={"doc": "File type to quantise to, such as `Q4_K_M`; none keeps the weights as they are."},
    )
    quantizer: str | None = field(
        default=None, metadata={"doc": "Quantizer plugin to use when several offer the file type."}
    )
    backend: str = field(default="cpu", metadata={"doc": "Where the weights are quantised and run."})
    runtime: str | None = field(
        default=None, metadata={"doc": "Runtime that starts a `llamafile` bundle; default `python`."}
    )
    overrides: Mapping[str, str] = field(factory=dict, metadata={"doc": "Maps tensor names or globs to tensor types."})
    options: Mapping[str, Any] = field(
        factory=dict, metadata={"options": True, "doc": "Options of the quantizer plugin."}
    )
    layout_options: Mapping[str, Any] = field(
        factory=dict, metadata={"options": True, "doc": "Options of the layout plugin."}
    )
    detached: bool = field(
        default=False,
        metadata={
            "doc": "Whether to write the bundle detached: the bare GGUF, and a sidecar beside it; not part of what is built."
        },
    )


@frozen(kw_only=True)
class SignSpec:
    """`[sign]`: which key signs; never part of what is built."""

    key: str = field(validator=_key_reference, metadata={"doc": "`file:PATH` or `env:NAME` of the private key."})
    options: Mapping[str, Any] = field(
        factory=dict,
        validator=_no_secrets,
        metadata={"options": True, "doc": "Options of the signer plugin; never a secret."},
    )


@frozen(kw_only=True)
class Recipe:
    """A whole recipe."""

    bundle: BundleInfo
    sources: Mapping[str, SourceSpec] = field(validator=_names)
    model: ModelSpec
    targets: Mapping[str, TargetSpec] = field(validator=_names)
    run: RunContract = field(factory=RunContract)
    checks: tuple[CheckSpec, ...] = ()
    plugins: Mapping[str, str] = field(
        factory=dict,
        metadata={"doc": "Plugin distribution to accepted versions, such as `>=0.2,<0.3`; not part of what is built."},
    )
    sign: SignSpec | None = None

    @property
    def measured(self) -> tuple[tuple[int, CheckSpec], ...]:
        """The checks made during builds, which also need the unquantised weights: number, from 1 on, and check."""
        return tuple((number, check) for number, check in enumerate(self.checks, 1) if check.kind == PERPLEXITY)

    def __attrs_post_init__(self) -> None:
        for check in self.checks:
            for name in check.targets:
                if name not in self.targets:
                    raise ValueError(f"a check names the target {name!r}, which the recipe does not have")
                if check.kind == PERPLEXITY and self.targets[name].quantize is None:
                    raise ValueError(f"a check names the target {name!r}, which the recipe does not quantise")
        for role in ("weights", "imatrix", "lora", "mmproj", "template"):
            name = getattr(self.model, role)
            if name is not None and name not in self.sources:
                raise ValueError(
                    f"model.{role} names the source {name!r}, but the recipe has {', '.join(sorted(self.sources))}"
                )
