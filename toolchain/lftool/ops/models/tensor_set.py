"""The fingerprint of a model: a digest of its set of tensors, whatever file they are in.

`lftool-tensors/1`: the SHA-256 of the ASCII line `lftool-tensors/1` and one line of canonical JSON per tensor, each line
ended by LF, in the order of the tensors' names as UTF-8 bytes. A tensor's line is

    [NAME, TYPE, [DIMENSIONS], SHA256]

with the name and the type's name as text, the dimensions as numbers, fastest first and without ones at the end, and the
SHA-256 of the tensor's bytes in hexadecimal. Order in the file, metadata, alignment and anything around do not matter.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.codec.canonical import canonical_json
from lftool.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

FORM = "lftool-tensors/1"


@frozen(kw_only=True)
class TensorDigest:
    """A tensor by name, and what its bytes are."""

    name: str
    type: str
    dimensions: tuple[int, ...]
    sha256: Digest

    @property
    def line(self) -> bytes:
        """Its line."""
        return canonical_json([self.name, self.type, list(self.dimensions), self.sha256.hex])


def fingerprint_of(tensors: Iterable[TensorDigest]) -> Digest:
    """Return the fingerprint of a set of tensors."""
    lines = [item.line for item in sorted(tensors, key=lambda item: item.name.encode())]
    return Digest(hashlib.sha256(b"\n".join([FORM.encode(), *lines, b""])).hexdigest())
