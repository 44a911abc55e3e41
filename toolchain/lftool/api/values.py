"""Values that the core passes to plugins and gets from them: frozen and keyword-only, so that fields can be added."""

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
    """Return a validator that raises where a value of another type is made, not later in the core."""
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
    """Part of an input is left out. A transform warns with this category, and the user sees the text."""


@frozen(kw_only=True)
class SourceContext:
    """What a source has to work with.

    Attributes:
        project: The recipe's folder.
        options: Instance of the record's options class, or None. The project chooses them.
        offline: Whether the source must not contact a remote.
        files: The only way to open files of the project and of the user's roots.
        credentials: The user's credentials, by host. Send what you get here, or connect anonymously. Do not let a
            library look for credentials: the recipe chooses the host.
    """

    project: Path
    options: Any = None
    offline: bool = False
    files: ProjectFiles = field(default=Factory(lambda self: ProjectFiles(project=self.project), takes_self=True))
    credentials: Credentials = field(factory=Anonymous)


@frozen(kw_only=True)
class RemoteStoreContext:
    """The URL of a remote store, from the user's environment, and the user's credentials."""

    url: str
    credentials: Credentials = field(factory=Anonymous)


@frozen(kw_only=True)
class SourceRequest:
    """What the recipe wants from a source. Globs match whole relative paths: `*` within one part, `**` across parts."""

    uri: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@frozen(kw_only=True)
class SourceFile:
    """One file of a revision.

    Attributes:
        path: Relative path with `/` between its parts.
        size: Size in bytes; None if the remote does not announce it.
        sha256: Its digest, if the remote vouches for one.
        revision: Version of this file, such as an ETag or a version id, if the source's revision does not determine it.
        exact: Whether two versions never have the same `revision`. A weak ETag or a time cannot guarantee that. If
            False, a file of unknown digest is fetched in one piece.
    """

    path: str = field(validator=_of(str))
    size: int | None = field(validator=[_of(int, _NONE), optional(ge(0))])
    sha256: Digest | None = field(default=None, validator=_of(Digest, _NONE))
    revision: str | None = field(default=None, validator=_of(str, _NONE))
    exact: bool = True


@frozen(kw_only=True)
class Resolution:
    """What a ref means now: an immutable revision and its files. Without a revision, the content is the revision."""

    revision: str | None = field(validator=_of(str, _NONE))
    files: tuple[SourceFile, ...] = field(validator=_tuple_of(SourceFile))


@frozen(kw_only=True)
class StoredObject:
    """What a remote store has under a key.

    Attributes:
        size: Size in bytes, as stored; None if the store does not report it.
        encoding: Content encoding that the store reports; None if it reports none.
    """

    size: int | None = field(validator=[_of(int, _NONE), optional(ge(0))])
    encoding: str | None = field(default=None, validator=_of(str, _NONE))


@frozen(kw_only=True)
class InputFile:
    """A checked, read-only input: where it is and what it is.

    Attributes:
        path: The file. If `pipe` is set, it has the right size and the GGUF's header, and zeros for data.
        artifact: Digest and size. If `pipe` is set, the digest is that of the header.
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
    """What a transform is to make.

    Attributes:
        produces: The file type, one of the record's `produces`.
        overrides: Types of tensors by exact name. The core has expanded the recipe's globs.
        options: Instance of the record's options class, or None.
        mixture: The rules to choose types by, one of the record's `mixtures`; "" for the newest.
        types: For a quantizer with a `mixture`: the type of every tensor, in the order of the output.
        name: For a converter: the model's name, as far as its source's address tells.
        archive: A ZIP of the members that the tool requested; in `run` only.
    """

    produces: str
    overrides: tuple[TensorType, ...] = ()
    options: Any = None
    mixture: str = ""
    types: tuple[TensorType, ...] = ()
    name: str = ""
    archive: Path | None = None


@frozen(kw_only=True)
class ToolArchive:
    """The archive that contains a tool. The core fetches it, compares its digest, and unpacks it.

    The plugin decides which bytes run, never a lock. A lock that names another archive is refused before anything is
    fetched.

    Attributes:
        uri: Where it is, as in a source of a recipe.
        sha256: Digest of the archive's bytes.
        include: Globs that choose one file there.
        members: Globs of the members needed from the tar archive, without the first folder of their paths.
    """

    uri: str = field(validator=_of(str))
    sha256: Digest = field(validator=_of(Digest))
    include: tuple[str, ...] = ()
    members: tuple[str, ...]


@frozen(kw_only=True)
class ToolIdentity:
    """What executes a transform: its version, and the files that decide its bytes.

    Attributes:
        version: Version of everything involved.
        files: Installed files.
        archive: Archive that must be fetched before it can run.
        parameters: Anything else that decides its bytes, such as compiler options.
    """

    version: str = field(validator=_of(str))
    files: tuple[Path, ...] = field(validator=_tuple_of(Path))
    archive: ToolArchive | None = field(default=None, validator=_of(ToolArchive, _NONE))
    parameters: tuple[str, ...] = ()


@frozen(kw_only=True)
class TransformPlan:
    """What a transform will make: a pure function of spec and input headers. Its canonical JSON enters the action.

    Attributes:
        parameters: Everything that decides the bytes: strings, integers, booleans, and lists and tables of those.
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
    """A member to be written. The core decides the order of members."""

    path: str = field(validator=_member_path)
    role: Role = field(validator=_role)
    artifact: Artifact = field(validator=_of(Artifact))


@frozen(kw_only=True)
class LayoutInputs:
    """What a layout has to place.

    Attributes:
        weights: The model.
        companions: Members beside the model: a LoRA adapter, a projector.
        runtime_prefix: Prefix of the runtime, if the target has one.
        runtime_members: Members of the runtime, if the target has one.
        options: Instance of the record's options class, or None.
    """

    weights: Artifact
    companions: tuple[PlannedMember, ...] = ()
    runtime_prefix: Artifact | None = None
    runtime_members: tuple[PlannedMember, ...] = ()
    options: Any = None


@frozen(kw_only=True)
class LayoutPlan:
    """Where everything goes, without any bytes."""

    prefix: PlannedPrefix = field(validator=_of(PlannedPrefix))
    members: tuple[PlannedMember, ...] = field(default=(), validator=_tuple_of(PlannedMember))


@frozen(kw_only=True)
class SignerContext:
    """A key reference, `scheme:rest`.

    Attributes:
        project: The recipe's folder.
        scheme: How the key is kept.
        rest: What follows the colon.
        files: The only way to open files that a reference names.
        options: Instance of the record's options class, or None.
    """

    project: Path
    scheme: str
    rest: str
    options: Any = None
    files: ProjectFiles = field(default=Factory(lambda self: ProjectFiles(project=self.project), takes_self=True))
