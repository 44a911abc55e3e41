"""Identify what a tool runs: versions, and the digest of the files that decide its output, remembered by stamp."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from lftool.codec.canonical import canonical_json
from lftool.host.guarding import guarded
from lftool.models.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.api import ToolIdentity
    from lftool.host.registry import Registered
    from lftool.pipeline.ports import Ports

_KIND = "tool"


def _file_digest(path: Path, ports: Ports) -> str:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        known = ports.store.stamps.recall(before, _KIND)
        if known is not None:
            return known["sha256"]
        found = hashlib.file_digest(file, "sha256").hexdigest()
        ports.store.stamps.remember(before, os.fstat(file.fileno()), _KIND, {"sha256": found})
        return found


def identify(registered: Registered[Any], ports: Ports) -> tuple[ToolIdentity, Digest]:
    """Return the identity of a transform or a runtime compiler, and the digest of its files and parameters.

    Raises:
        UnavailableError: Software that it runs is not installed.
        PluginError: The plugin failed.
    """
    with guarded(registered.origin):
        identity: ToolIdentity = registered.record.factory().tool()
        digests = [[path.name, _file_digest(path, ports)] for path in identity.files]
    parameters = [["parameters", *identity.parameters]] if identity.parameters else []
    return identity, Digest.of(canonical_json([*sorted(digests), *parameters]))
