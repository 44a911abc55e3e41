"""The folders of one store, `$XDG_CACHE_HOME/lftool/{cas-v1,ac-v2,tmp,locks}`, and the objects that manage them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.store.actions import ActionCache
from lftool.store.cas import ContentStore
from lftool.store.durable import storage_errors, sweep
from lftool.store.locking import advisory_lock
from lftool.store.stamps import open_stamps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lftool.models.digest import Artifact, Digest

_CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by lftool; see https://bford.info/cachedir/\n"


class Store:
    """A content-addressed store, an action cache and stamps, under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.quarantine = root / "quarantine"
        self.partials = root / "partial-v1"
        self.use_lock = root / "locks" / "use"
        self.stamps = open_stamps(root)
        self.blobs = ContentStore(root / "cas-v1", self.temporary, self.quarantine, self.stamps)
        # ac-v1 is not read: outputs that a lock merely named could be recorded there as made.
        self.actions = ActionCache(root / "ac-v2", self.temporary, self.blobs)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep garbage collection out during the block, and remove leftovers of killed processes.

        Raises:
            StorageError: The store cannot be created.
        """
        with storage_errors("use the cache at", self.root):
            self.temporary.mkdir(parents=True, exist_ok=True)
            tag = self.root / "CACHEDIR.TAG"
            if not tag.exists():
                tag.touch()
                tag.write_text(_CACHEDIR_TAG)  # a marker for backup tools; lftool never reads it
        sweep(self.temporary)
        with advisory_lock(self.use_lock, shared=True):
            yield

    @contextlib.contextmanager
    def doing(self, action: Digest, pulse: Callable[[], None] | None = None) -> Iterator[bool]:
        """Let one process at a time do `action`; the others then find it in the cache. Yield whether the lock is held.

        Args:
            action: The action.
            pulse: Called repeatedly while another process does the action; may raise.
        """
        with advisory_lock(self.root / "locks" / action.hex, pulse=pulse) as held:
            yield held

    def remembered(self, key: Digest, name: str, make: Callable[[], Artifact]) -> Artifact:
        """Return the artifact that `make` stores for `key`, now or earlier; only one process at a time makes it.

        An artifact that is missing or corrupted is made again.

        Args:
            key: Digest of everything that determines the bytes; `pipeline/identity.py` makes keys.
            name: Name of the artifact under the key.
            make: Makes and stores the artifact.
        """
        with self.doing(key):
            known = (self.actions.said(key) or {}).get(name)
            if known is not None and self.blobs.is_sound(known):
                return known
            made = make()
            self.actions.put(key, {name: made})
            return made

    def remembers(self, key: Digest, name: str) -> bool:
        """Tell whether `remembered` could return without making anything, as far as known without reading the blob."""
        known = (self.actions.said(key) or {}).get(name)
        return known is not None and self.blobs.holds(known)

    def remembered_bytes(self, key: Digest, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the bytes that `make` returns for `key`, now or earlier; see `remembered`."""
        artifact = self.remembered(key, name, lambda: self.blobs.put_bytes(make(), name))
        return self.blobs.require(artifact, name).read_bytes()
