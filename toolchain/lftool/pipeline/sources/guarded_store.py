"""Open the remote store named in the environment; every call to its plugin is guarded."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import frozen

from lftool.api import Credentials, RemoteStoreContext, StoredObject
from lftool.errors import UsageError
from lftool.host.guarding import checked_pieces, guarded
from lftool.pipeline.user_credentials import UserCredentials
from lftool.transfer.wanted import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lftool.api import RemoteStore
    from lftool.host.registry import Registered, Registry
    from lftool.models.digest import Artifact, Digest
    from lftool.store.store import Store
    from lftool.transfer.fetch_rules import TransferRules
    from lftool.transfer.remote_store import CheckedStore  # noqa: TC004 - loaded only if there is one

PLACE = "LFTOOL_REMOTE_STORE"
ACTIONS = "LFTOOL_REMOTE_STORE_ACTIONS"


class GuardedStore:
    """A plugin's remote store, opened on first use; its exceptions name the plugin."""

    def __init__(self, registered: Registered[Any], url: str, credentials: Credentials) -> None:
        self._registered = registered
        self._url = url
        self._credentials = credentials
        self._opened: RemoteStore | None = None
        self._opening = threading.Lock()

    def _remote(self) -> RemoteStore:
        with self._opening:
            if self._opened is None:
                context = RemoteStoreContext(url=self._url, credentials=self._credentials)
                self._opened = self._registered.record.factory(context)
            return self._opened

    def find(self, key: str) -> StoredObject | None:
        """See `lftool.api.RemoteStore.find`."""
        with guarded(self._registered.origin):
            found = self._remote().find(key)
            if found is not None and not isinstance(found, StoredObject):
                raise TypeError(f"find() returned {type(found).__name__}, not a StoredObject")
            return found

    @contextlib.contextmanager
    def open(self, key: str, offset: int, size: int | None) -> Iterator[Iterator[bytes]]:
        """See `lftool.api.RemoteStore.open`."""
        with guarded(self._registered.origin), self._remote().open(key, offset, size) as pieces:
            yield checked_pieces(pieces, self._registered.origin)

    def put(self, key: str, content: Iterator[bytes], size: int, encoding: str | None) -> None:
        """See `lftool.api.RemoteStore.put`."""
        with guarded(self._registered.origin):
            self._remote().put(key, content, size, encoding)


def _place(url: str) -> str:
    """Return the scheme of a store's URL.

    Raises:
        UsageError: It is not a URL, or contains secrets that messages would repeat.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.netloc, parts.port
    except ValueError:  # its text may repeat a password
        raise UsageError(f"{PLACE} is not a URL") from None
    if not parts.scheme or not host or "@" in host or parts.query or parts.fragment:
        raise UsageError(
            f"{PLACE} must be scheme://host/path, without user, query or fragment",
            hints=("credentials have their own variables: lftool help environment",),
        )
    return parts.scheme


@frozen(kw_only=True)
class RemoteRecords:
    """The records of a remote store that the user trusts."""

    remote: CheckedStore
    listener: Listener

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"remote store {self.remote.url}"

    def said(self, action: Digest) -> Mapping[str, Artifact] | None:
        """Return the outputs of `action` in the store's record."""
        return self.remote.recall(action, self.listener)


def remote_store_from_environment(
    registry: Registry, store: Store, rules: TransferRules, *, trust_records: bool
) -> CheckedStore | None:
    """Return the remote store that `LFTOOL_REMOTE_STORE` names; None when it is unset or empty.

    Args:
        registry: Has the kinds of remote stores.
        store: The store on this machine.
        rules: The rules of fetching.
        trust_records: Whether its records count even without `LFTOOL_REMOTE_STORE_ACTIONS`.

    Raises:
        UsageError: Its value is not a place that an installed plugin can open.
    """
    url = os.environ.get(PLACE, "").rstrip("/")
    if not url:
        return None
    from lftool.transfer.remote_store import CheckedStore  # noqa: PLC0415 - most builds have none

    registered = registry.remote_store(_place(url))
    actions = trust_records if ACTIONS not in os.environ else os.environ[ACTIONS] not in {"", "0"}
    return CheckedStore(url, GuardedStore(registered, url, UserCredentials()), store, rules, actions=actions)
