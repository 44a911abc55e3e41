"""`lftool push s3://BUCKET/PREFIX/`: objects below a prefix of a bucket, `gs:` and `az:` too."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lftool.api import Digest, FetchError, UsageError, plan_files, publish_files
from lftool_s3.errors import sorted_errors
from lftool_s3.options import Options
from lftool_s3.stores import open_store, parse_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from lftool.api import DestinationContext, Publication, PublicationPlan, Published, Uploading

_PART = 8 * 1024 * 1024
_HINTS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, of somebody who may write (s3:PutObject)",
    "or name the host in credentials.toml: lftool help configuration",
)
_SHA256 = "lftool-sha256"  # metadata of an object; it becomes x-amz-meta-lftool-sha256


class Bucket:
    """Objects below a prefix. Their digests stand in their metadata."""

    def __init__(self, context: DestinationContext) -> None:
        place = parse_place(context.uri)
        self._what = f"push to {context.uri!r}"
        self._prefix = f"{place.key.strip('/')}/" if place.key.strip("/") else ""
        self._store = open_store(place, context.options or Options(), context.credentials)

    def find(self, path: str) -> tuple[int, Digest | None] | None:
        """Return what a HEAD says."""
        import obstore

        with self._sorted():
            try:
                found = obstore.get(self._store, self._prefix + path, options={"head": True})
            except FileNotFoundError:
                return None
            said = found.attributes.get(_SHA256)
            try:
                return found.meta["size"], None if said is None else Digest(said)
            except ValueError:
                return found.meta["size"], None

    def read(self, path: str) -> bytes | None:
        """Return a small object; None if there is none."""
        import obstore

        with self._sorted():
            try:
                return bytes(obstore.get(self._store, self._prefix + path).bytes())
            except FileNotFoundError:
                return None

    def write(self, path: str, content: Callable[[], Iterator[bytes]], size: int, sha256: Digest) -> None:
        """Upload an object, in parts when it is large; it is visible when it is complete.

        Raises:
            FetchError: What was read to be uploaded is not what it should be.
        """
        import obstore

        state = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for piece in content():
                state.update(piece)
                yield piece
            if state.hexdigest() != sha256.hex:
                raise FetchError(f"{path}: it changed while it was sent")

        with self._sorted():
            whole = b"".join(hashed()) if size <= _PART else hashed()
            obstore.put(
                self._store,
                self._prefix + path,
                whole,
                attributes={_SHA256: sha256.hex},
                chunk_size=_PART,
                max_concurrency=4,
            )

    def _sorted(self) -> AbstractContextManager[None]:
        return sorted_errors(self._what, part=False, hints=_HINTS)


class BucketDestination:
    """Publishes below a prefix of a bucket."""

    def __init__(self, context: DestinationContext) -> None:
        self._context = context
        place = parse_place(context.uri)
        if place.key and not place.key.endswith("/"):
            raise UsageError(f"{context.uri!r} names an object, not a prefix", hints=(f"write {context.uri}/",))

    def plan(self, publication: Publication) -> PublicationPlan:
        """Return the objects."""
        return plan_files(publication, self._context.uri)

    def publish(self, publication: Publication, uploading: Uploading) -> Published:
        """Upload what is missing, then the index.

        Raises:
            UsageError: An object with other contents is there.
            FetchError: Something cannot be written.
            TransientError: The bucket does not answer, for now.
        """
        return publish_files(
            publication, Bucket(self._context), uploading, self._context.uri, force=self._context.force
        )
