"""Bring one file into the store: in parallel and resumable if possible, else as one stream; starts over if needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lftool.errors import ChangedError, FetchError, IntegrityError, RangeError, StorageError, TransientError
from lftool.models.digest import Artifact
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.partial import partial_file
from lftool.transfer.chunks import ParallelTransfer
from lftool.transfer.fetch_rules import wait_before

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.store.store import Store
    from lftool.transfer.fetch_rules import TransferRules
    from lftool.transfer.wanted import Listener, Remote, Wanted


class Transfer:
    """The transfer of one file."""

    def __init__(self, wanted: Wanted, remote: Remote, store: Store, rules: TransferRules, listener: Listener) -> None:
        self._wanted = wanted
        self._remote = remote
        self._store = store
        self._rules = rules
        self._listener = listener
        self._pinned = True
        self._again = rules.attempts > 1

    def run(self) -> Artifact:
        """Fetch the file into the store and return its name.

        Raises:
            IntegrityError: The file does not match the lock or the remote's own digest; nothing is stored.
            FetchError: The remote cannot deliver it.
            StorageError: It cannot be written.
            KeyboardInterrupt: Cancelled; the part of a large file that has arrived is kept for the next time.
        """
        while True:
            size = self._wanted.size
            try:
                if size is None or size <= CHUNK_SIZE or not self._wanted.ranges:
                    return self._streamed()
                artifact = self._parallel(size)
                if artifact is not None:
                    return artifact
            except ChangedError as error:
                self._start_over(error)
            except IntegrityError as error:
                if not self._again:
                    raise
                self._again = False
                self._listener.notice(f"{error.message}; fetching it once more")
            except RangeError as error:
                if not self._wanted.ranges:
                    raise FetchError(f"{self._wanted.what}: {error.message}") from error
                self._wanted = attrs.evolve(self._wanted, ranges=False)

    @property
    def pinned(self) -> bool:
        """Whether the file is of the requested version, as far as the remote can tell."""
        return self._pinned

    def _expected(self) -> Artifact | None:
        wanted = self._wanted
        return Artifact(wanted.sha256, wanted.size) if wanted.sha256 is not None and wanted.size is not None else None

    def _start_over(self, error: ChangedError) -> None:
        """Continue without requesting a version: a known digest decides, or else one response is one version."""
        what = self._wanted.what
        if self._wanted.sha256 is None:
            if not self._pinned:
                raise FetchError(f"{what}: {error.message}", hints=("it is changing right now; lock again",)) from error
            self._pinned, self._wanted = False, attrs.evolve(self._wanted, ranges=False)
            self._listener.notice(
                f"{what}: {error.message}; fetched in one go instead, and pinned by its content alone"
            )
            return
        self._again = False  # the digest decides, so another attempt cannot help
        if not self._pinned:
            raise IntegrityError(f"{what}: {error.message}") from error
        self._pinned = False
        self._listener.notice(f"{what}: {error.message}; starting over")

    def _parallel(self, size: int) -> Artifact | None:
        """Return the artifact, or None if the data of an earlier fetch was unusable and has been removed."""
        with partial_file(self._store.partials, self._wanted.key, size) as partial:
            left = partial.count - len(partial.missing)
            self._listener.progress(min(left * CHUNK_SIZE, size), size)
            try:
                artifact = ParallelTransfer(self._wanted, self._remote, partial, self._rules, self._listener).run(
                    pinned=self._pinned
                )
                expected = self._expected()
                if expected is not None:
                    expected.require(artifact, self._wanted.what)
            except (ChangedError, RangeError):
                partial.discard()
                raise
            except IntegrityError:
                partial.discard()
                if not left:
                    raise
                self._listener.notice(f"{self._wanted.what}: cannot use what an earlier fetch left; starting over")
                return None
            try:
                self._store.blobs.adopt(partial.path, artifact)
            except StorageError:  # without working locks, another process may have been faster
                if not self._store.blobs.is_sound(artifact):
                    raise
            partial.discard()
            return artifact

    def _streamed(self) -> Artifact:
        """Fetch in one stream; every attempt starts from the beginning."""
        failed = 0
        while True:
            try:
                return self._store.blobs.put(
                    self._pieces(),
                    self._wanted.what,
                    expected=self._expected(),
                    size=self._wanted.size,
                    sha256=self._wanted.sha256,
                    sync=False,
                )
            except TransientError as error:
                failed += 1
                self._listener.wait(wait_before(failed, error, self._rules, self._wanted.what))

    def _pieces(self) -> Iterator[bytes]:
        done, size = 0, self._wanted.size
        self._listener.wait(0)
        with self._remote.open(0, None, pinned=self._pinned) as pieces:
            for piece in pieces:
                self._listener.wait(0)
                done += len(piece)
                yield piece
                self._listener.progress(done, size)
        if size is not None and done < size and self._rules.attempts > 1:
            raise TransientError(f"the transfer ended after {done} of {size} bytes")
