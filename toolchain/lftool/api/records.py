"""Records: what hooks yield. A record names a thing, says what it is for, and knows how to make it.

A name can be locked; "whoever registered last" cannot. Names are lower-case words of the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen
from attrs.validators import ge

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

if TYPE_CHECKING:
    from attrs import Attribute

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


@frozen(kw_only=True)
class Record:
    """Base of all records.

    Attributes:
        name: How recipes and locks refer to it.
        summary: One line for `lftool plugins list`.
        options: An attrs class that the recipe's `options` table is structured as; None when there are none.
    """

    name: str = field(validator=_name)
    summary: str
    options: type | None = None

    @property
    def key(self) -> str:
        """What must be unique among the records of a kind: the name, as a rule."""
        return self.name


@frozen(kw_only=True)
class SourceType(Record):
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
class TransformType(Record):
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

    It consumes `safetensors`, `gguf-split` or `peft`, and its `produces` are types of weights: `source` keeps those that
    are there. Inputs are named by their paths within the source; of `peft`, under `adapter/`, and the configuration of the
    model that it adapts under `base/`.

    Attributes:
        makes: What kind of GGUF, by the names of `general.type`.
    """

    makes: Literal["model", "adapter", "mmproj"] = "model"


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
class BackendType(Record):
    """A backend: cpu, cuda, rocm, metal.

    Attributes:
        loads: Whether its `load` tries models before they are locked.
        preference: Of several backends that can be used here, `--backend auto` takes the one with the largest. The processor has
            1, our accelerators have 10.
    """

    loads: bool = False
    preference: int = 0
    factory: Callable[[], Backend]


@frozen(kw_only=True)
class LayoutType(Record):
    """A bundle layout.

    Attributes:
        suffix: What files of bundles end with.
        media_type: Theirs.
        default_runtime: The runtime that it needs; None when it needs none.
        number: Grows when the layout lays out otherwise. It enters the action of the pack stage above 1.
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
class SignerType(Record):
    """A signer; `schemes` are the key reference schemes that it opens, such as `file` and `env`."""

    schemes: tuple[str, ...] = field(validator=_not_empty)
    factory: Callable[[SignerContext], Signer]


@frozen(kw_only=True)
class VerifierType(Record):
    """A verifier; its name is the signature scheme."""

    factory: Callable[[], Verifier]


@frozen(kw_only=True)
class ObserverType(Record):
    """An observer of events."""

    factory: Callable[[], Observer]


@frozen(kw_only=True)
class CommandType(Record):
    """A command: `lftool NAME`. lftool's own names are taken.

    Attributes:
        factory: Makes the `click.Command`, or a group of them. What it returns is the exit status, if it is an int.
    """

    factory: Callable[[], Any]
