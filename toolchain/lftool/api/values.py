"""What the core hands to plugins and takes from them: frozen values, keyword-only, so that fields can be added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, field, frozen
from attrs.validators import ge, in_, optional

from lftool.api.credentials import Anonymous, Credentials
from lftool.api.files import ProjectFiles
from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import ROLE_RANK, PrefixRole, Role
from lftool.models.names import check_member_path

if TYPE_CHECKING:
    from attrs import Attribute


def _of(*kinds: type) -> Callable[[Any, Attribute[Any], Any], None]:
    """Return a validator: whoever makes such a value with another type hears it at that line, and not the core later."""
    names = " or ".join("None" if kind is type(None) else f"a {kind.__name__}" for kind in kinds)

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"{type(instance).__name__}.{attribute.name} must be {names}, not {value!r}")

    return check


def _tuple_of(kind: type) -> Callable[[Any, Attribute[Any], Any], None]:
    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
        where = f"{type(instance).__name__}.{attribute.name}"
        if not isinstance(value, tuple):
            raise TypeError(f"{where} must be a tuple, not a {type(value).__name__}")
        for item in value:
            if not isinstance(item, kind):
                raise TypeError(f"{where} must hold {kind.__name__}, not {item!r}")

    return check


def _role(instance: Any, _attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
    if value not in ROLE_RANK:
        raise ValueError(f"{type(instance).__name__}.role: {value!r} is none of {', '.join(ROLE_RANK)}")


def _member_path(_instance: Any, _attribute: Attribute[Any], value: Any) -> None:  # noqa: ANN401 - as attrs has it
    check_member_path(value)


_NONE = type(None)


class InputWarning(UserWarning):
    """Something of an input is left out; a transform warns with this category, and the user reads the text."""


@frozen(kw_only=True)
class SourceContext:
    """Where and with what a source works.

    Attributes:
        project: The recipe's folder.
        options: Its options, structured; None when the record has none. They are the recipe's: a project chooses them.
        offline: Whether no remote may be asked.
        files: The one way to open files of the project and of the user's roots.
        credentials: The user's, by host. A source asks here, and passes on what it gets, or asks anonymously; it must not
            let a library look for credentials: a recipe chooses the host.
    """

    project: Path
    options: Any = None
    offline: bool = False
    files: ProjectFiles = field(default=Factory(lambda self: ProjectFiles(project=self.project), takes_self=True))
    credentials: Credentials = field(factory=Anonymous)


@frozen(kw_only=True)
class RemoteStoreContext:
    """Where a remote store is, as the user's environment says, and the user's credentials."""

    url: str
    credentials: Credentials = field(factory=Anonymous)


@frozen(kw_only=True)
class SourceRequest:
    """What the recipe asks a source for; globs match whole relative paths, `*` within one part, `**` across parts."""

    uri: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@frozen(kw_only=True)
class SourceFile:
    """One file of a revision.

    Attributes:
        path: Relative path with `/` between its parts.
        size: Size in bytes; None when the remote does not say before it delivers.
        sha256: Its digest, if the remote vouches for one.
        revision: Which version of this file, where the source's revision does not say: an ETag, a version id.
        exact: Whether two versions never have the same `revision`; a weak ETag or a time cannot promise that, and then a
            file of unknown digest is fetched in one piece.
    """

    path: str = field(validator=_of(str))
    size: int | None = field(validator=[_of(int, _NONE), optional(ge(0))])
    sha256: Digest | None = field(default=None, validator=_of(Digest, _NONE))
    revision: str | None = field(default=None, validator=_of(str, _NONE))
    exact: bool = True


@frozen(kw_only=True)
class Resolution:
    """What a ref means now: an immutable revision and its files; no revision means that content is the revision."""

    revision: str | None = field(validator=_of(str, _NONE))
    files: tuple[SourceFile, ...] = field(validator=_tuple_of(SourceFile))


@frozen(kw_only=True)
class StoredObject:
    """What a remote store has under a key.

    Attributes:
        size: Its size in bytes, as it is stored; None when the store does not say.
        encoding: Content encoding that the store names; None when it names none.
    """

    size: int | None = field(validator=[_of(int, _NONE), optional(ge(0))])
    encoding: str | None = field(default=None, validator=_of(str, _NONE))


@frozen(kw_only=True)
class InputFile:
    """A checked, read-only input: where it lies and what it is.

    Attributes:
        path: The file. While `pipe` is set, it has the right size and the GGUF's header, and zeros for data.
        artifact: Digest and size; while `pipe` is set, the digest is that of the header.
        pipe: Delivers the bytes of the whole file once, from the first to the last, while they are made.
            Only transforms whose record has `streams` get one.
    """

    path: Path
    artifact: Artifact
    pipe: Path | None = None


@frozen(kw_only=True)
class TensorType:
    """A tensor and its type, by their names in the file."""

    tensor: str = field(validator=_of(str))
    type: str = field(validator=_of(str))


@frozen(kw_only=True)
class TransformSpec:
    """What a transform is asked to make.

    Attributes:
        produces: The file type, one of the record's `produces`.
        overrides: Exact tensor names; the core has expanded the recipe's globs.
        options: The record's options class, structured; None when it has none.
        types: Of a quantizer with a `mixture`: the type of every tensor, in the order of the output.
        name: Of a converter: what the model is called, as far as its source's address tells.
        archive: A ZIP of the members that the tool asked for; in `run` only.
    """

    produces: str
    overrides: tuple[TensorType, ...] = ()
    options: Any = None
    types: tuple[TensorType, ...] = ()
    name: str = ""
    archive: Path | None = None


@frozen(kw_only=True)
class ToolArchive:
    """An archive that a tool comes in; the core fetches it, compares its digest, and unpacks it.

    The plugin decides which bytes run, never a lock: a lock that names another archive is refused before anything of it
    is fetched.

    Attributes:
        uri: Where it is, as a source of a recipe would name it.
        sha256: Digest of the archive's bytes.
        include: Globs that choose one file there.
        members: Globs of what is needed of the tar archive, without the first folder of its paths.
    """

    uri: str = field(validator=_of(str))
    sha256: Digest = field(validator=_of(Digest))
    include: tuple[str, ...] = ()
    members: tuple[str, ...]


@frozen(kw_only=True)
class ToolIdentity:
    """What executes a transform: its version, and the files that decide its bytes.

    Attributes:
        version: Of all that has a part in it.
        files: Installed files.
        archive: What must be fetched before it can run.
        parameters: What else decides its bytes, such as options of a compiler.
    """

    version: str = field(validator=_of(str))
    files: tuple[Path, ...] = field(validator=_tuple_of(Path))
    archive: ToolArchive | None = field(default=None, validator=_of(ToolArchive, _NONE))
    parameters: tuple[str, ...] = ()


@frozen(kw_only=True)
class TransformPlan:
    """A pure function of spec and input headers; its canonical JSON enters the action.

    Attributes:
        parameters: Everything that decides the bytes: strings, integers, booleans, lists and tables of those.
        tensors: The type of every tensor of the output, in file order.
    """

    parameters: Mapping[str, Any] = field(validator=_of(Mapping))
    tensors: tuple[TensorType, ...] = field(validator=_tuple_of(TensorType))


@frozen(kw_only=True)
class RuntimeMember:
    """A file that a runtime needs in the bundle."""

    path: str = field(validator=_member_path)
    role: Role = field(validator=_role)
    data: bytes = field(validator=_of(bytes))


@frozen(kw_only=True)
class RuntimeParts:
    """A runtime's frozen bytes: the executable prefix and the members that it needs."""

    prefix: bytes = field(validator=_of(bytes))
    members: tuple[RuntimeMember, ...] = field(default=(), validator=_tuple_of(RuntimeMember))


@frozen(kw_only=True)
class PlannedPrefix:
    """What a bundle begins with."""

    role: PrefixRole = field(validator=in_(("gguf", "runtime")))
    artifact: Artifact = field(validator=_of(Artifact))


@frozen(kw_only=True)
class PlannedMember:
    """A member to be written; the core puts members into their order."""

    path: str = field(validator=_member_path)
    role: Role = field(validator=_role)
    artifact: Artifact = field(validator=_of(Artifact))


@frozen(kw_only=True)
class LayoutInputs:
    """What there is to lay out.

    Attributes:
        weights: The model.
        companions: Members that travel beside it: a LoRA adapter, a projector.
        runtime_prefix: Of the runtime, where the layout asks for one.
        runtime_members: Of the runtime, as above.
        options: The record's options class, structured; None when it has none.
    """

    weights: Artifact
    companions: tuple[PlannedMember, ...] = ()
    runtime_prefix: Artifact | None = None
    runtime_members: tuple[PlannedMember, ...] = ()
    options: Any = None


@frozen(kw_only=True)
class LayoutPlan:
    """Where everything goes; no bytes."""

    prefix: PlannedPrefix = field(validator=_of(PlannedPrefix))
    members: tuple[PlannedMember, ...] = field(default=(), validator=_tuple_of(PlannedMember))


@frozen(kw_only=True)
class SignerContext:
    """A key reference, `scheme:rest`.

    Attributes:
        project: The recipe's folder.
        scheme: How the key is kept.
        rest: What stands behind the colon.
        files: The one way to open files that a reference names.
        options: The record's options class, structured; None when it has none.
    """

    project: Path
    scheme: str
    rest: str
    options: Any = None
    files: ProjectFiles = field(default=Factory(lambda self: ProjectFiles(project=self.project), takes_self=True))
