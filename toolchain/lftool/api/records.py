"""Records: what hooks yield. A record names a thing, says what it is for, and has a factory that makes it.

A name can be locked; "whichever plugin registered last" cannot. Names are lower-case terms of the field.
"""

# ruff: noqa: TC004 - nothing resolves the annotations of records

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge, in_

from lftool.api.lazy import Lazy
from lftool.formats.model_kind import Does
from lftool.models.globs import parse_glob
from lftool.models.run_keys import FIRST_RUN_KEYS

if TYPE_CHECKING:
    from attrs import Attribute

    from lftool.api.checking import Check
    from lftool.api.exporting import Exporter
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
    from lftool.api.publishing import Destination, DestinationContext
    from lftool.api.sourcing import RemoteStoreContext, SignerContext, SourceContext

# Formats that lftool recognises in a source without a plugin.
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
        """The key that must be unique within a kind; the name by default."""
        return self.name


@frozen(kw_only=True)
class ConfigurableRecord(Record):
    """Base of records that take options.

    Attributes:
        options: The attrs class that a table of options becomes: no coercion, no unknown keys. None if there are no
            options. A class named with `lazily` is imported when it is used.
    """

    options: type | Lazy | None = None

    @property
    def options_class(self) -> type | None:
        """The class of its options; None if there are no options."""
        found: type | None = self.options.resolve() if isinstance(self.options, Lazy) else self.options
        return found


@frozen(kw_only=True)
class SourceType(ConfigurableRecord):
    """A source. `schemes` are the URI schemes that it resolves.

    Attributes:
        local: Whether it works without a network. With `--offline`, only such sources are opened.
        ranges: Whether `open` can deliver parts. If so, large files are fetched over several connections and resumed.
    """

    schemes: tuple[str, ...] = field(validator=_not_empty)
    local: bool = False
    ranges: bool = False
    factory: Callable[[SourceContext], Source]


@frozen(kw_only=True)
class RemoteStoreType(Record):
    """A kind of remote store. `schemes` are its URL schemes."""

    schemes: tuple[str, ...] = field(validator=_not_empty)
    factory: Callable[[RemoteStoreContext], RemoteStore]


@frozen(kw_only=True)
class DestinationType(ConfigurableRecord):
    """A destination, where `lftool push` publishes bundles. `schemes` are its URI schemes.

    Attributes:
        form: Whether it takes bundles as one file, detached, or both. If both, the user's `--whole` decides.
        options: Class of the command's options, as for an exporter: a field `chunk` is `--chunk`.
    """

    schemes: tuple[str, ...] = field(validator=_not_empty)
    form: Literal["detached", "whole", "either"] = field(
        default="either", validator=in_(("detached", "whole", "either"))
    )
    factory: Callable[[DestinationContext], Destination]


@frozen(kw_only=True)
class TransformType(ConfigurableRecord):
    """Base of converters and quantizers.

    Attributes:
        consumes: Formats that it reads, such as `gguf`.
        produces: What it makes, such as the file type `Q4_K_M`.
        semantics: Name and number of its arithmetic. Two transforms with the same semantics make the same bits.
        deterministic: Whether the same inputs give the same bytes. If False, it is refused.
        streams: For a converter: whether it writes its output once, from the first byte to the last, so that the output
            can be a pipe. For a quantizer: whether it and its `mixture` plan from the header of the weights, and it can
            read the weights from `InputFile.pipe`.
    """

    consumes: tuple[str, ...] = field(validator=_not_empty)
    produces: tuple[str, ...] = field(validator=_not_empty)
    semantics: str = field(validator=_semantics)
    deterministic: bool = True
    streams: bool = False
    factory: Callable[[], Transform]


@frozen(kw_only=True)
class ConverterType(TransformType):
    """A converter, which turns the files of a source into one GGUF.

    It consumes `safetensors`, `gguf-split` or `peft`, which lftool recognises, or one format of its own. `produces` are
    weight types; `source` keeps the types in the source. Inputs are named by their paths within the source. For `peft`,
    these are under `adapter/`, and the configuration of the model that it adapts is under `base/`.

    Attributes:
        makes: Kind of the GGUF, as in `general.type`.
        recognises: For a format of its own: globs of the paths of its weights, as in `include`. lftool looks for them
            in sources that have none of the formats that it knows itself. Pickle checkpoints are refused whatever
            matches.
        beside: For a format of its own: globs of what else it reads from the source, such as a configuration.
        options: Class of the recipe's `[model.options.ROLE]`.
    """

    makes: Literal["model", "adapter", "mmproj"] = "model"
    recognises: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        own = [name for name in self.consumes if name not in KNOWN_FORMATS]
        if self.recognises and (len(self.consumes) != 1 or not own):
            raise ValueError(f"it recognises one format of its own, not {', '.join(self.consumes)}")
        if own and not self.recognises:
            raise ValueError(f"{own[0]!r} is a format of its own: list its files in `recognises`")
        for glob in (*self.recognises, *self.beside):
            parse_glob(glob)


@frozen(kw_only=True)
class QuantizerType(TransformType):
    """A quantizer, which turns a GGUF into a smaller one.

    Attributes:
        mixture: Name of the quantizer that chooses the type of every tensor; None if this one does.
        mixtures: Names and numbers of the rules by which it chooses types itself, such as `ggml-mix/1`, newest first. The
            lock names those that it was made with, and `TransformSpec.mixture` asks for them.
        preference: If several quantizers make a file type, the one with the highest preference is the default.
        accelerates: Name of the quantizer that this one may replace for targets of `backend`, if its own `tool()` does
            not raise. It makes the same bits.
        backend: Backend of the targets for which it may replace that quantizer.
        alignment: The only alignment of weights, in bytes, from which it makes sound files; None if it accepts any.
        derives: Whether its object is a `Deriver` too, which tells what a tensor was made from.
    """

    mixture: str | None = None
    mixtures: tuple[str, ...] = ()
    preference: int = 0
    accelerates: str | None = None
    backend: str | None = None
    alignment: int | None = None
    derives: bool = False


@frozen(kw_only=True)
class BackendType(ConfigurableRecord):
    """A backend, such as cpu, cuda, rocm or metal.

    Several plugins may provide a backend, each with its own engine. lftool uses the first one, by name, whose module is
    installed, unless `--engine` names another.

    Attributes:
        engine: Name of what computes, such as `llama-cpp-python`; empty if the backend has no other.
        module: Module of the engine, which must be installed for `launch` and `load`; empty if there is none to look for.
        loads: Whether its `load` tries models before they are locked.
        applies: Keys of the run contract that its `launch` applies, API 2.1; a bundle that sets another is not started with
            it. By default those of API 2.0, which has no `reasoning`, `grammar`, `json_schema`, `stop_tokens`, `cache_type`
            and RoPE.
        preference: If several backends are available, `--backend auto` takes the one with the highest preference. The
            processor has 1, our accelerators have 10.
        options: Class of `[backends.NAME]` in the user's configuration.
        factory: Called with the options if the record has an options class, else without arguments.
    """

    engine: str = ""
    module: str = ""
    loads: bool = False
    applies: tuple[str, ...] = FIRST_RUN_KEYS
    preference: int = 0
    factory: Callable[..., Backend]

    @property
    def key(self) -> str:
        """Name and engine: several plugins may provide a backend."""
        return f"{self.name} {self.engine}".rstrip()


@frozen(kw_only=True)
class LayoutType(ConfigurableRecord):
    """A bundle layout.

    Attributes:
        suffix: Suffix of bundle files.
        media_type: Media type of bundle files.
        default_runtime: Runtime of targets that name none; None if the layout has no runtime.
        number: Increase it when the layout changes where things go. Above 1, it enters the action of the pack stage.
        options: Class of the target's `layout_options`; `plan` gets them in `LayoutInputs.options`.
    """

    suffix: str
    media_type: str
    default_runtime: str | None = None
    number: int = field(default=1, validator=ge(1))
    factory: Callable[[], Layout]


@frozen(kw_only=True)
class RuntimeType(Record):
    """A runtime. Increase `number` when its bytes change, and keep the old numbers.

    Attributes:
        compiled: Whether it is compiled on the machine that locks. If so, `factory` makes a `CompiledRuntime` and the
            lock names the resulting executable. Otherwise, `factory` makes a `Runtime`.
        backend: Backend of a compiled runtime. Recipes write `runtime = "native"` for every backend.
        requests: How many requests its server answers concurrently, each with the context length of the recipe.
        applies: Keys of the run contract that it applies, API 2.1; a recipe that sets another cannot have it. By default
            those of API 2.0, as of `BackendType`.
    """

    number: int
    compiled: bool = False
    backend: str | None = None
    requests: int = field(default=1, validator=ge(1))
    applies: tuple[str, ...] = FIRST_RUN_KEYS
    factory: Callable[[], Runtime | CompiledRuntime]

    @property
    def title(self) -> str:
        """The name, followed by the name of the backend if there is one."""
        return self.name if self.backend is None else f"{self.name}-{self.backend}"

    @property
    def semantics(self) -> str:
        """Title and number, as in locks and manifests."""
        return f"{self.title}/{self.number}"

    @property
    def key(self) -> str:
        """Title and number, because old numbers stay beside new ones."""
        return self.semantics


@frozen(kw_only=True)
class SignerType(ConfigurableRecord):
    """A signer. `schemes` are the key reference schemes that it opens, such as `file` and `env`.

    Attributes:
        options: Class of the recipe's `[sign.options]`; the factory gets them in `SignerContext.options`.
    """

    schemes: tuple[str, ...] = field(validator=_not_empty)
    factory: Callable[[SignerContext], Signer]


@frozen(kw_only=True)
class VerifierType(Record):
    """A verifier. Its name is the signature scheme."""

    factory: Callable[[], Verifier]


@frozen(kw_only=True)
class ObserverType(ConfigurableRecord):
    """An observer of events.

    Attributes:
        options: Class of `[observers.NAME]` in the user's configuration.
        factory: Called with the options if the record has an options class, else without arguments.
    """

    factory: Callable[..., Observer]


@frozen(kw_only=True)
class CheckType(ConfigurableRecord):
    """A kind of check: `[[checks]] kind = NAME`.

    Attributes:
        options: Class of the table's keys besides `kind`, `name` and `targets`. A field with `metadata={"file": True}`
            names a file of the project, which must exist when the recipe is locked.
        of: What a model must do for the check to apply to it.
        factory: Called with the options if the record has an options class, else without arguments.
    """

    of: tuple[Does, ...] = field(default=("generates",), validator=_not_empty)
    factory: Callable[..., Check]


@frozen(kw_only=True)
class ExporterType(ConfigurableRecord):
    """An exporter: `lftool export NAME BUNDLE`.

    Attributes:
        options: Class of the command's options: a field `image` is `--image`. A field without a default is required.
            Its metadata `doc` is the help text, `metavar` the placeholder after the option.
        writes: Whether it makes the text of one file or fills a folder.
        factory: Called with the options if the record has an options class, else without arguments.
    """

    writes: Literal["file", "folder"] = field(default="file", validator=in_(("file", "folder")))
    factory: Callable[..., Exporter]


@frozen(kw_only=True)
class Example(Record):
    """What `lftool plugins test` needs to test a record as a user of the installed plugin would use it.

    Attributes:
        name: Name of the record.
        of: Kind of the record, such as `SourceType`.
        make: Takes an empty folder and returns a context manager over what the kit of that kind needs: `Served` for a
            source, `Work` for a converter or quantizer, … (docs/reference/plugin-api.md). It must stop what it starts.
    """

    of: type[Record] = field(validator=_record_type)
    make: Callable[[Path], AbstractContextManager[Any]]

    @property
    def key(self) -> str:
        """Kind, name and summary: several examples of one record differ in their summaries."""
        return f"{self.of.__name__} {self.name}: {self.summary}"


@frozen(kw_only=True)
class CommandType(Record):
    """A command: `lftool NAME`. The names of lftool's own commands are taken.

    Attributes:
        factory: Makes the `click.Command`, or a group of them. `lazily` may name the command itself. If the command
            returns an int, that is the exit status. With `@click.pass_obj` it gets a `CommandContext`.
    """

    factory: Callable[[], Any]
