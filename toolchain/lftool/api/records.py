"""Records: what hooks yield. A record names a thing, says what it is for, and knows how to make it.

A name can be locked; "whoever registered last" cannot. Names are lower-case words of the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge, in_

from lftool.api.lazy import Lazy
from lftool.api.protocols import (
    Backend,
    CompiledRuntime,
    Layout,
    Observer,
    RemoteStore,
    Runtime,
    Signer,
    Source,
    Transform,
    Verifier,
)
from lftool.api.values import RemoteStoreContext, SignerContext, SourceContext
from lftool.formats.model_kind import Does
from lftool.models.globs import parse_glob

if TYPE_CHECKING:
    from attrs import Attribute

    from lftool.api.checking import Check  # noqa: TC004 - nothing resolves the annotations of records
    from lftool.api.exporting import Exporter  # noqa: TC004 - as above

# What lftool recognises in a source by itself.
KNOWN_FORMATS = ("gguf", "gguf-split", "safetensors", "peft")
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*\Z")
_SEMANTICS = re.compile(r"[a-z0-9][a-z0-9._+-]*/[1-9][0-9]*\Z")


def _name(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not _NAME.match(value):
        raise ValueError(f"{value!r} is not a record name: lower-case letters, digits and . _ + -")


def _semantics(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not _SEMANTICS.match(value):
        raise ValueError(f"{value!r} does not name semantics; write NAME/NUMBER, such as 'ggml-q/1'")


def _not_empty(_instance: object, attribute: Attribute[Any], value: tuple[str, ...]) -> None:
    if not value or isinstance(value, str):
        raise ValueError(f"{attribute.name} must be a tuple with at least one entry")


def _record_type(_instance: object, _attribute: Attribute[Any], value: object) -> None:
    if not (isinstance(value, type) and issubclass(value, Record)):
        raise TypeError(f"Example.of must be a kind of record, such as SourceType, not {value!r}")


@frozen(kw_only=True)
class Record:
    """Base of all records.

    Attributes:
        name: How recipes and locks refer to it.
        summary: One line for `lftool plugins list`.
    """

    name: str = field(validator=_name)
    summary: str

    @property
    def key(self) -> str:
        """What must be unique within a kind: the name, as a rule."""
        return self.name


@frozen(kw_only=True)
class ConfigurableRecord(Record):
    """Base of records that take options.

    Attributes:
        options: An attrs class that a table of options is structured as: no coercion, no unknown keys. None when there are none.
            One that is named `lazily` is looked at when it is used.
    """

    options: type | Lazy | None = None

    @property
    def options_class(self) -> type | None:
        """The class of its options; None when there are none."""
        found: type | None = self.options.resolve() if isinstance(self.options, Lazy) else self.options
        return found


@frozen(kw_only=True)
class SourceType(ConfigurableRecord):
    """A source; `schemes` are the URI schemes that it resolves.

    Attributes:
        local: Whether it works without a network; only such sources are opened under `--offline`.
        ranges: Whether `open` can deliver parts; then large files are fetched over several connections, and resumed.
    """

    schemes: tuple[str, ...] = field(validator=_not_empty)
    local: bool = False
    ranges: bool = False
    factory: Callable[[SourceContext], Source]


@frozen(kw_only=True)
class RemoteStoreType(Record):
    """A kind of remote store; `schemes` are the URL schemes of its places."""

    schemes: tuple[str, ...] = field(validator=_not_empty)
    factory: Callable[[RemoteStoreContext], RemoteStore]


@frozen(kw_only=True)
class TransformType(ConfigurableRecord):
    """Base of converters and quantizers.

    Attributes:
        consumes: Formats that it reads, such as `gguf`.
        produces: What it makes, such as the file type `Q4_K_M`.
        semantics: Name and number of its arithmetic; two transforms of the same semantics make the same bits.
        deterministic: Whether the same inputs give the same bytes; others are refused.
        streams: Of a converter: that it writes its output once, from the first byte to the last, so that it may be a pipe.
            Of a quantizer: that it, and its `mixture`, plan from the header of the weights, and that it can read them
            from `InputFile.pipe`.
    """

    consumes: tuple[str, ...] = field(validator=_not_empty)
    produces: tuple[str, ...] = field(validator=_not_empty)
    semantics: str = field(validator=_semantics)
    deterministic: bool = True
    streams: bool = False
    factory: Callable[[], Transform]


@frozen(kw_only=True)
class ConverterType(TransformType):
    """A converter: from the files of a source to one GGUF.

    It consumes `safetensors`, `gguf-split` or `peft`, which lftool recognises, or one format of its own; its `produces` are
    types of weights: `source` keeps those that are there. Inputs are named by their paths within the source; of `peft`, under
    `adapter/`, and the configuration of the model that it adapts under `base/`.

    Attributes:
        makes: What kind of GGUF, by the names of `general.type`.
        recognises: Of a format of its own: globs of the paths that are such weights, as in `include`. They are looked for in
            sources that hold none of the formats that lftool knows; pickle checkpoints are refused whatever matches.
        beside: Of a format of its own: globs of what else it reads of the source, such as a configuration.
        options: Of the recipe's `[model.options.ROLE]`.
    """

    makes: Literal["model", "adapter", "mmproj"] = "model"
    recognises: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        own = [name for name in self.consumes if name not in KNOWN_FORMATS]
        if self.recognises and (len(self.consumes) != 1 or not own):
            raise ValueError(f"it recognises one format of its own, not {', '.join(self.consumes)}")
        if own and not self.recognises:
            raise ValueError(f"{own[0]!r} is a format of its own: say which files are such weights, in `recognises`")
        for glob in (*self.recognises, *self.beside):
            parse_glob(glob)


@frozen(kw_only=True)
class QuantizerType(TransformType):
    """A quantizer: from a GGUF to a smaller one.

    Attributes:
        mixture: Name of the quantizer that chooses the type of every tensor; None when it does so itself.
        preference: Of several quantizers that make a file type, the one with the largest is used by default.
        accelerates: Name of the quantizer in whose place it may work, for targets of `backend`, where its `tool()` does not
            raise: it makes the same bits.
        backend: Which targets' quantizer it may replace.
        alignment: The one alignment of weights, in bytes, that it makes sound files of; None where it makes them of any.
    """

    mixture: str | None = None
    preference: int = 0
    accelerates: str | None = None
    backend: str | None = None
    alignment: int | None = None


@frozen(kw_only=True)
class BackendType(ConfigurableRecord):
    """A backend: cpu, cuda, rocm, metal.

    Attributes:
        loads: Whether its `load` tries models before they are locked.
        preference: Of several backends that can be used here, `--backend auto` takes the one with the largest. The processor has
            1, our accelerators have 10.
        options: Of `[backends.NAME]` in the user's configuration.
        factory: Called without arguments, or with the options where the record has a class of them.
    """

    loads: bool = False
    preference: int = 0
    factory: Callable[..., Backend]


@frozen(kw_only=True)
class LayoutType(ConfigurableRecord):
    """A bundle layout.

    Attributes:
        suffix: What files of bundles end with.
        media_type: Theirs.
        default_runtime: The runtime that it needs; None when it needs none.
        number: Grows when the layout lays out otherwise. It enters the action of the pack stage above 1.
        options: Of the target's `layout_options`; `plan` gets them in `LayoutInputs.options`.
    """

    suffix: str
    media_type: str
    default_runtime: str | None = None
    number: int = field(default=1, validator=ge(1))
    factory: Callable[[], Layout]


@frozen(kw_only=True)
class RuntimeType(Record):
    """A runtime; `number` grows when its bytes change, and old numbers stay.

    Attributes:
        compiled: Whether it is compiled on the machine that locks; then `factory` makes a `CompiledRuntime`, and the lock
            names the executable that came of it. Else it makes a `Runtime`.
        backend: Of a compiled runtime, for which backend; recipes write `runtime = "native"` for all of them.
        requests: How many requests a server of it answers at once, each with the context that the recipe asks for.
    """

    number: int
    compiled: bool = False
    backend: str | None = None
    requests: int = field(default=1, validator=ge(1))
    factory: Callable[[], Runtime | CompiledRuntime]

    @property
    def title(self) -> str:
        """The name, with the backend's behind it where there is one."""
        return self.name if self.backend is None else f"{self.name}-{self.backend}"

    @property
    def semantics(self) -> str:
        """Title and number, as locks and manifests write it."""
        return f"{self.title}/{self.number}"

    @property
    def key(self) -> str:
        """Name and number: old numbers stay beside new ones."""
        return self.semantics


@frozen(kw_only=True)
class SignerType(ConfigurableRecord):
    """A signer; `schemes` are the key reference schemes that it opens, such as `file` and `env`.

    Attributes:
        options: Of the recipe's `[sign.options]`; the factory gets them in `SignerContext.options`.
    """

    schemes: tuple[str, ...] = field(validator=_not_empty)
    factory: Callable[[SignerContext], Signer]


@frozen(kw_only=True)
class VerifierType(Record):
    """A verifier; its name is the signature scheme."""

    factory: Callable[[], Verifier]


@frozen(kw_only=True)
class ObserverType(ConfigurableRecord):
    """An observer of events.

    Attributes:
        options: Of `[observers.NAME]` in the user's configuration.
        factory: Called without arguments, or with the options where the record has a class of them.
    """

    factory: Callable[..., Observer]


@frozen(kw_only=True)
class CheckType(ConfigurableRecord):
    """A kind of check: `[[checks]] kind = NAME`.

    Attributes:
        options: The keys of such a table besides `kind`, `name` and `targets`. A field with `metadata={"file": True}` names a
            file of the project, which is looked for when the recipe is locked.
        of: What models it can check do.
        factory: Called without arguments, or with the options where the record has a class of them.
    """

    of: tuple[Does, ...] = field(default=("generates",), validator=_not_empty)
    factory: Callable[..., Check]


@frozen(kw_only=True)
class ExporterType(ConfigurableRecord):
    """An exporter: `lftool export NAME BUNDLE`.

    Attributes:
        options: Options of the command: a field `image` is `--image`. Without a default it is required; the metadata `doc` is
            its help, `metavar` what stands behind it.
        writes: Whether it makes the text of one file, or fills a folder.
        factory: Called without arguments, or with the options where the record has a class of them.
    """

    writes: Literal["file", "folder"] = field(default="file", validator=in_(("file", "folder")))
    factory: Callable[..., Exporter]


@frozen(kw_only=True)
class Example(Record):
    """What `lftool plugins test` tries a record with: it is tested as an installed plugin's user would use it.

    Attributes:
        name: Of the record.
        of: Its kind, such as `SourceType`.
        make: Given an empty folder, a context manager over what the kit of that kind needs: `Served` of a source, `Work` of a
            converter or quantizer, … (docs/reference/plugin-api.md). What it starts, it ends.
    """

    of: type[Record] = field(validator=_record_type)
    make: Callable[[Path], AbstractContextManager[Any]]

    @property
    def key(self) -> str:
        """Kind and name; several examples of a record differ in what they show."""
        return f"{self.of.__name__} {self.name}: {self.summary}"


@frozen(kw_only=True)
class CommandType(Record):
    """A command: `lftool NAME`. lftool's own names are taken.

    Attributes:
        factory: Makes the `click.Command`, or a group of them; `lazily` may name the command itself. What the command returns is
            the exit status, if it is an int. With `@click.pass_obj` it gets a `CommandContext`.
    """

    factory: Callable[[], Any]
