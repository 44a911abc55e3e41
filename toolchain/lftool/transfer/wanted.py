"""What a transfer is about, where its bytes come from, and who listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from lftool.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@frozen(kw_only=True)
class Wanted:
    """One file to fetch.

    Attributes:
        what: What it is, for messages: `source 'base', file model.gguf`.
        key: Digest of all that decides its bytes; names what an interrupted transfer leaves.
        size: Size in bytes; None when it is not known before it arrives.
        sha256: Its digest, where the lock or the remote names one.
        ranges: Whether parts of it can be asked for, and cannot be of different versions.
    """

    what: str
    key: Digest
    size: int | None
    sha256: Digest | None
    ranges: bool


class Remote(Protocol):
    """A file of an opened source."""

    def open(self, offset: int, size: int | None, *, pinned: bool) -> AbstractContextManager[Iterator[bytes]]:
        """Return a context manager over its bytes; see `lftool.api.Source.open`.

        Args:
            offset: Where to begin.
            size: How many; None for all that follow.
            pinned: Whether it must be the version that was resolved; else any, for its digest is known.
        """


class Listener(Protocol):
    """Who is told what happens."""

    def progress(self, done: int, total: int | None) -> None:
        """Hear that `done` of `total` bytes are here."""

    def notice(self, text: str) -> None:
        """Hear something that a person should read."""

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            KeyboardInterrupt: The work has been cancelled; before or meanwhile.
        """
