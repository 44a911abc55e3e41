"""What sources, remote stores and signers get and give: frozen and keyword-only, so that fields can be added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen
from attrs.validators import ge, optional

from lftool.api.credentials import Anonymous, Credentials
from lftool.api.files import ProjectFiles
from lftool.api.types import NONE, of, tuple_of
from lftool.models.digest import Digest


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

    path: str = field(validator=of(str))
    size: int | None = field(validator=[of(int, NONE), optional(ge(0))])
    sha256: Digest | None = field(default=None, validator=of(Digest, NONE))
    revision: str | None = field(default=None, validator=of(str, NONE))
    exact: bool = True


@frozen(kw_only=True)
class Resolution:
    """What a ref means now: an immutable revision and its files. Without a revision, the content is the revision.

    Attributes:
        gated: Whether the owner of the files decides who gets them. `lftool push` then asks before it publishes what was
            made from them.
    """

    revision: str | None = field(validator=of(str, NONE))
    files: tuple[SourceFile, ...] = field(validator=tuple_of(SourceFile))
    gated: bool = field(default=False, validator=of(bool))


@frozen(kw_only=True)
class StoredObject:
    """What a remote store has under a key.

    Attributes:
        size: Size in bytes, as stored; None if the store does not report it.
        encoding: Content encoding that the store reports; None if it reports none.
    """

    size: int | None = field(validator=[of(int, NONE), optional(ge(0))])
    encoding: str | None = field(default=None, validator=of(str, NONE))


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
