"""SHA-256 digests and the artifacts they name."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.errors import IntegrityError

if TYPE_CHECKING:
    from attrs import Attribute

_HEX = re.compile(r"[0-9a-f]{64}\Z")


def _sha256_hex(_instance: object, _attribute: Attribute[str], value: str) -> None:
    if not _HEX.match(value):
        raise ValueError(f"a sha256 is 64 lower-case hex digits, not {value!r}")


@frozen(order=True)
class Digest:
    """A SHA-256 digest. A separate type, so that no other string is ever taken for one or joined to a path."""

    hex: str = field(validator=_sha256_hex)

    @classmethod
    def of(cls, data: bytes | memoryview) -> Digest:
        """Return the digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return self.hex


@frozen(order=True)
class Artifact:
    """Bytes, identified by their digest and their size in bytes."""

    sha256: Digest
    size: int

    @classmethod
    def of(cls, data: bytes) -> Artifact:
        """Return the artifact of `data`."""
        return cls(Digest.of(data), len(data))

    def require(self, got: Artifact, what: str) -> None:
        """Raise IntegrityError unless `got` is this artifact.

        Args:
            got: What was received or made.
            what: What it is, for the message.

        Raises:
            IntegrityError: Size or digest differs.
        """
        if got != self:
            raise IntegrityError(
                f"{what}: expected sha256 {self.sha256} ({self.size} bytes), got {got.sha256} ({got.size} bytes)"
            )
