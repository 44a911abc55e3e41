"""The action cache: the outputs of actions, so that they need not run again; written once every output is stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lftool.models.digest import Artifact, Digest
from lftool.store.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lftool.store.cas import ContentStore


_MOST_BYTES = 2**53  # the limit of canonical JSON


def encode_outputs(outputs: Mapping[str, Artifact]) -> bytes:
    """Return named outputs as JSON."""
    named = {name: {"sha256": item.sha256.hex, "size": item.size} for name, item in sorted(outputs.items())}
    return json.dumps(named).encode()


def decode_outputs(data: bytes) -> dict[str, Artifact] | None:
    """Return the outputs that `encode_outputs` wrote; None if `data` is anything else or names no outputs."""
    try:
        kept = json.loads(data)
        outputs = {name: Artifact(Digest(item["sha256"]), item["size"]) for name, item in kept.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    sound = outputs and all(type(item.size) is int and 0 <= item.size < _MOST_BYTES for item in outputs.values())
    return outputs if sound else None


class ActionCache:
    """Maps an action digest to named outputs."""

    def __init__(self, root: Path, temporary: Path, blobs: ContentStore) -> None:
        self._root = root
        self._temporary = temporary
        self._blobs = blobs

    def path(self, action: Digest) -> Path:
        """Return the path of the record of `action`, present or not."""
        return self._root / action.hex[:2] / action.hex[2:]

    def said(self, action: Digest) -> dict[str, Artifact] | None:
        """Return the outputs of `action`, even if their blobs are gone; None if unknown or undecodable."""
        try:
            return decode_outputs(self.path(action).read_bytes())
        except OSError:
            return None

    def get(self, action: Digest) -> dict[str, Artifact] | None:
        """Return the outputs of `action`; None if unknown or undecodable, or if a blob is missing."""
        outputs = self.said(action)
        if outputs is None or not all(self._blobs.holds(artifact) for artifact in outputs.values()):
            return None
        return outputs

    def put(self, action: Digest, outputs: Mapping[str, Artifact]) -> None:
        """Record that `action` made `outputs`. Only the process that did the work may call this."""
        write_durably(self.path(action), encode_outputs(outputs), "action", mode=0o600, temporary=self._temporary)

    def forget(self, action: Digest) -> None:
        """Delete the record of `action`."""
        self.path(action).unlink(missing_ok=True)

    def entries(self) -> Iterator[Digest]:
        """Yield the digests of all remembered actions, sorted."""
        for path in sorted(self._root.glob("[0-9a-f][0-9a-f]/*")):
            try:
                yield Digest(path.parent.name + path.name)
            except ValueError:
                continue
