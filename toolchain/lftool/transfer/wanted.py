"""Interfaces of a transfer: the file to fetch, the remote that has it, and the listener."""

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
        what: Description for messages: `source 'base', file model.gguf`.
        key: Digest of everything that determines its bytes; names the data of an interrupted transfer.
        size: Size in bytes; None if it is not known in advance.
        sha256: Its digest, if the lock or the remote names one.
        ranges: Whether parts can be requested that are certain to be of one version.
    """

    what: str
    key: Digest
    size: int | None
    sha256: Digest | None
    ranges: bool


class Remote(Protocol):
    """A file in an opened source."""

    def open(self, offset: int, size: int | None, *, pinned: bool) -> AbstractContextManager[Iterator[bytes]]:
        """Return a context manager over its bytes; see `lftool.api.Source.open`.

        Args:
            offset: Position of the first byte.
            size: Number of bytes; None for all that follow.
            pinned: Whether it must be the resolved version; otherwise any will do, since the digest is known.
        """


class Listener(Protocol):
    """Receives the events of a transfer."""

    def progress(self, done: int, total: int | None) -> None:
        """Called when `done` of `total` bytes have arrived."""

    def notice(self, text: str) -> None:
        """Called with a message for the user."""

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            KeyboardInterrupt: The work was cancelled before or during the wait.
        """
