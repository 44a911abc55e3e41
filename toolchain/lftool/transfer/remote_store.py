"""A remote store, verified before use: blobs by digest and, if the user trusts them, records of actions.

The keys are those of Bazel's HTTP cache: `cas/<sha256>` and `ac/<sha256>` (bazel.build, "Remote caching", HTTP caching
protocol). A blob may be stored compressed: its length, or the encoding that the store names, shows it.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import attrs
from attrs import frozen

from lftool.api import RemoteStore
from lftool.codec.canonical import canonical_json
from lftool.errors import FetchError, IntegrityError, LftoolError, StorageError, TransientError
from lftool.models.digest import Artifact, Digest
from lftool.store.actions import decode_outputs, encode_outputs
from lftool.store.durable import durable_file
from lftool.transfer.engine import Transfer
from lftool.transfer.fetch_rules import wait_before
from lftool.transfer.transit import ENCODING, compress, decompressed, pays
from lftool.transfer.wanted import Listener, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lftool.store.store import Store
    from lftool.transfer.fetch_rules import TransferRules

T = TypeVar("T")

_LOOK_SECONDS = 0.2
_PIECE = 1024 * 1024
_MOST_ACTION_BYTES = 64 * 1024
_ATTEMPTS = 2


class Watched:
    """A file whose reads stop once the work is cancelled."""

    def __init__(self, file: BinaryIO, listener: Listener) -> None:
        self._file = file
        self._listener = listener

    def read(self, size: int) -> bytes:
        """Read, or raise KeyboardInterrupt."""
        self._listener.wait(0)
        return self._file.read(size)


def blob_key(sha256: Digest) -> str:
    """Return the key of a blob."""
    return f"cas/{sha256}"


def action_key(action: Digest) -> str:
    """Return the key of an action's record."""
    return f"ac/{action}"


@frozen(kw_only=True)
class _Object:
    """A stored object, decoded, as the fetch engine reads it."""

    remote: RemoteStore
    key: str
    packed: bool
    size: int
    listener: Listener

    @contextlib.contextmanager
    def open(self, offset: int, size: int | None, *, pinned: bool) -> Iterator[Iterator[bytes]]:
        """Yield its bytes; there is no version to pin, since the digest decides."""
        del pinned
        with self.remote.open(self.key, offset, size) as pieces:
            if self.packed:
                yield decompressed(self._watched(pieces), self.size, self.key)
            else:
                yield pieces

    def _watched(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield pieces until the work is cancelled; a piece may decode to nothing for a long time."""
        for piece in pieces:
            self.listener.wait(0)
            yield piece


class CheckedStore:
    """A remote store in a build: reading never fails a build, and the store is not used again after the first failure.

    Args:
        url: The store's URL, for messages.
        remote: The remote store.
        store: The store on this machine.
        rules: The rules of fetching; retries are fewer than for a source, which is there as a fallback.
        actions: Whether to trust its records of actions. They can only be checked by repeating the action.
    """

    def __init__(self, url: str, remote: RemoteStore, store: Store, rules: TransferRules, *, actions: bool) -> None:
        self.url = url
        self._remote = remote
        self._store = store
        self._rules = attrs.evolve(rules, attempts=min(rules.attempts, _ATTEMPTS))
        self._actions = actions
        self._failed = threading.Event()
        self._failing = threading.Lock()

    def _give_up(self, error: LftoolError, listener: Listener) -> None:
        """Warn once, and stop using the store."""
        with self._failing:
            if not self._failed.is_set():
                self._failed.set()
                listener.notice(f"{error.message}; continuing without it")

    def _retried(self, ask: Callable[[], T], listener: Listener) -> T:
        failed = 0
        while True:
            try:
                return ask()
            except TransientError as error:
                failed += 1
                listener.wait(wait_before(failed, error, self._rules, f"remote store {self.url}"))

    def fetch(self, artifact: Artifact, listener: Listener) -> bool:
        """Bring a blob into the store on this machine; return whether it is there now.

        Raises:
            StorageError: It cannot be written on this machine.
            KeyboardInterrupt: Cancelled.
        """
        if self._failed.is_set():
            return False
        name = Digest.of(canonical_json({"remote_store": artifact.sha256.hex, "size": artifact.size}))
        try:
            with self._store.doing(name, pulse=lambda: listener.wait(_LOOK_SECONDS)) as held:
                if not held:  # no locks here: no other process may continue the file that we begin
                    name = Digest.of(secrets.token_bytes(32))
                return self._store.blobs.is_sound(artifact) or self._fetch(artifact, name, listener)
        except StorageError:
            raise
        except IntegrityError as error:
            listener.notice(f"{error.message}; continuing without it")
            return False
        except LftoolError as error:
            self._give_up(error, listener)
            return False

    def _fetch(self, artifact: Artifact, name: Digest, listener: Listener) -> bool:
        key = blob_key(artifact.sha256)
        found = self._retried(lambda: self._remote.find(key), listener)
        if found is None:
            return False
        packed = found.encoding is not None or found.size not in {None, artifact.size}
        wanted = Wanted(
            what=f"remote store {self.url}, {key}",
            key=name,
            size=artifact.size,
            sha256=artifact.sha256,
            ranges=not packed,
        )
        remote = _Object(remote=self._remote, key=key, packed=packed, size=artifact.size, listener=listener)
        Transfer(wanted, remote, self._store, self._rules, listener).run()
        return True

    def recall(self, action: Digest, listener: Listener) -> dict[str, Artifact] | None:
        """Return the outputs of `action` in the store's record; None if it has none, or is not trusted."""
        if self._failed.is_set() or not self._actions:
            return None
        key = action_key(action)
        try:
            if self._retried(lambda: self._remote.find(key), listener) is None:
                return None
            return decode_outputs(self._retried(lambda: self._small(key), listener))
        except LftoolError as error:
            self._give_up(error, listener)
            return None

    def _small(self, key: str) -> bytes:
        data = b""
        with self._remote.open(key, 0, None) as pieces:
            for piece in pieces:
                data += piece
                if len(data) > _MOST_ACTION_BYTES:
                    raise FetchError(f"{key} has more than {_MOST_ACTION_BYTES} bytes")
        return data

    def push(self, artifact: Artifact, what: str, threads: int, listener: Listener, *, force: bool = False) -> bool:
        """Upload a blob of this machine, compressed if that pays; return False if it was there already.

        Args:
            artifact: The blob.
            what: Description for messages.
            threads: Number of threads for compression.
            listener: Checked regularly for cancellation.
            force: Upload it even if it is there, since that copy may be damaged.

        Raises:
            FetchError: The store does not accept it.
            StorageError: It is not in the store on this machine.
            IntegrityError: The copy on this machine is corrupted.
        """
        key = blob_key(artifact.sha256)
        if not force and self._retried(lambda: self._remote.find(key), listener) is not None:
            return False
        path = self._store.blobs.require(artifact, what)
        with path.open("rb") as file:
            if not pays(file, artifact.size):
                self._put(key, path, None, listener)
                return True
            with durable_file(self._store.temporary, "blob") as packed:  # never committed: removed once it is sent
                compress(Watched(file, listener), packed.file, threads)
                packed.file.flush()
                smaller = packed.path.stat().st_size < artifact.size
                self._put(key, packed.path if smaller else path, ENCODING if smaller else None, listener)
        return True

    def _put(self, key: str, path: Path, encoding: str | None, listener: Listener) -> None:
        def send() -> None:
            with path.open("rb") as file:
                watched = Watched(file, listener)
                pieces = iter(lambda: watched.read(_PIECE), b"")
                self._remote.put(key, pieces, path.stat().st_size, encoding)

        self._retried(send, listener)

    def remember(self, action: Digest, outputs: Mapping[str, Artifact], listener: Listener) -> None:
        """Upload the record of `action`.

        Raises:
            FetchError: The store does not accept it.
        """
        with durable_file(self._store.temporary, "action") as out:
            out.file.write(encode_outputs(outputs))
            out.file.flush()
            self._put(action_key(action), out.path, None, listener)
