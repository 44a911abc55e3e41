"""What destinations get and give: bundles to publish, as files and facts; what will be written, and what was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from attrs import Factory, field, frozen
from attrs.validators import ge

from lftool.api.credentials import Anonymous, Credentials
from lftool.api.types import of, tuple_of
from lftool.formats.gguf_read import GGUFHeader
from lftool.models.digest import Digest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

T = TypeVar("T")
FileRole = Literal["weights", "runtime", "sidecar", "bundle"]


@frozen(kw_only=True)
class PublishedFile:
    """A file to publish.

    Attributes:
        path: Its name, without folders.
        role: The bare GGUF, the runtime, the sidecar with everything else, or a bundle as one file.
        size: Size in bytes.
        sha256: Its digest.
        executable: Whether it has to be executable to be used.
        content: Takes where to begin and how many bytes, both in bytes, and yields them in pieces.
    """

    path: str
    role: FileRole
    size: int
    sha256: Digest
    executable: bool = False
    content: Callable[[int, int], Iterator[bytes]] = field(repr=False, eq=False)


@frozen(kw_only=True)
class PublishedStatement:
    """A signed statement about a bundle, kept beside it: a Sigstore bundle with an in-toto statement.

    Attributes:
        path: Name of its file.
        data: Its bytes.
        media_type: Its media type.
        predicate_type: What it states.
    """

    path: str
    data: bytes = field(repr=False)
    media_type: str
    predicate_type: str


@frozen(kw_only=True)
class PublishedSource:
    """A source that a bundle was made from: its name in the recipe, its URI and its revision."""

    name: str
    uri: str
    revision: str


@frozen(kw_only=True)
class PublishedBundle:
    """A bundle to publish. Every byte of it has been compared with its manifest.

    Attributes:
        title: Name, version and target, as in the names of its files.
        name: Name of the bundle, from the recipe.
        version: Version of the bundle.
        target: Target of the recipe that it was built for.
        layout: Its layout.
        backend: Backend that it was built for.
        runtime: Name and number of the runtime that it begins with; empty if there is none.
        manifest: M, the digest of its manifest.
        size: Size of the bundle as one file, in bytes.
        license: SPDX expression, from the recipe; None if it names none.
        description: What the recipe says about it; None if nothing.
        weights: The header of the weights.
        file_type: What the weights were quantised to; empty if they are as their source has them.
        parameters: Number of weights.
        context: Context length in tokens: of the run contract, else the model's; 0 if neither names one.
        sources: What it was made from.
        figures: Measured quality, from statements: name to number, as text.
        files: Its files.
        statements: Statements about it.
    """

    title: str
    name: str
    version: str
    target: str
    layout: str
    backend: str
    runtime: str
    manifest: Digest
    size: int
    license: str | None
    description: str | None
    weights: GGUFHeader = field(repr=False)
    file_type: str
    parameters: int
    context: int
    sources: tuple[PublishedSource, ...]
    figures: Mapping[str, str]
    files: tuple[PublishedFile, ...]
    statements: tuple[PublishedStatement, ...] = ()


@frozen(kw_only=True)
class Publication:
    """What is published in one go: bundles of one name and version, each of another target.

    Attributes:
        bundles: The bundles, in the order of the command line.
    """

    bundles: tuple[PublishedBundle, ...]


@frozen(kw_only=True)
class PlannedItem:
    """Something that a destination will hold.

    Attributes:
        name: A file's name, or what it is.
        digest: `sha256:` and its digest.
        size: Size in bytes.
    """

    name: str = field(validator=of(str))
    digest: str = field(validator=of(str))
    size: int = field(validator=[of(int), ge(0)])


@frozen(kw_only=True)
class PublicationPlan:
    """What a destination will hold after a push. The same bundles and options give the same plan anywhere.

    Attributes:
        location: What people pull, with a digest where the destination has one.
        items: What is uploaded unless it is there.
    """

    location: str = field(validator=of(str))
    items: tuple[PlannedItem, ...] = field(validator=tuple_of(PlannedItem))


@frozen(kw_only=True)
class Published:
    """The result of a push.

    Attributes:
        location: What people pull, with the digest or commit where the destination has one.
        sent: Bytes of contents that were uploaded.
        present: Number of items that were there.
        notes: What to tell the user, one sentence each.
    """

    location: str = field(validator=of(str))
    sent: int = field(validator=[of(int), ge(0)])
    present: int = field(validator=[of(int), ge(0)])
    notes: tuple[str, ...] = field(default=(), validator=tuple_of(str))


class Uploading(Protocol):
    """What a destination works with while it publishes."""

    def sending(self, path: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Return a context manager for the upload of one file; call its value with how many bytes have been sent.

        Such a call raises KeyboardInterrupt if the user has stopped lftool.
        """

    def retried(self, ask: Callable[[], T], what: str) -> T:
        """Return what `ask` returns; call it again after a `TransientError`, after a pause and a few times.

        Raises:
            FetchError: It failed as often as the user's settings allow.
        """

    def notice(self, text: str) -> None:
        """Tell the user something that may be a mistake."""


@frozen(kw_only=True)
class DestinationContext:
    """Where to publish, and how.

    Attributes:
        uri: What the user typed.
        options: Instance of the record's options class, or None.
        credentials: The user's credentials, by host.
        force: Whether what is there under the same name may be replaced by something else.
        folder: The working folder, for paths that `uri` may name.
    """

    uri: str
    options: Any = None
    credentials: Credentials = field(factory=Anonymous)
    force: bool = False
    folder: Path = field(default=Factory(Path))


class Destination(Protocol):
    """A place for bundles, such as a repository in a registry."""

    def plan(self, publication: Publication) -> PublicationPlan:
        """Return what will be there. Contacts no server.

        Raises:
            UsageError: The URI or an option is wrong.
            UnavailableError: The place does not take such files.
        """

    def publish(self, publication: Publication, uploading: Uploading) -> Published:
        """Upload what is missing. What makes a push visible comes last, so that nobody sees half of one.

        Raises:
            UsageError: Something else is there under the same name.
            FetchError: The place does not accept it.
            TransientError: It does not answer, for now.
        """
