"""Headers of weights that are not in the store: converted, hashed and quantised in one go, and kept nowhere.

A header is enough to plan another quantisation, and it takes a few megabytes where the weights take gigabytes.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lftool.pipeline.identity import header_key
from lftool.store.durable import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lftool.models.digest import Artifact
    from lftool.pipeline.ports import Ports

_HEADER = "header"


def remember_header(weights: Artifact, header: bytes, ports: Ports) -> None:
    """Remember the header of weights that this machine made."""
    ports.store.remembered(header_key(weights), _HEADER, lambda: ports.store.blobs.put_bytes(header, "a header"))


def header_of(weights: Artifact, ports: Ports) -> Path | None:
    """Return a file that begins as the weights do, up to their data; None when it is not known here."""
    known = (ports.store.actions.said(header_key(weights)) or {}).get(_HEADER)
    if known is None or not ports.store.blobs.is_sound(known):
        return None
    return ports.store.blobs.require(known, "the header of converted weights")


@contextlib.contextmanager
def skeleton(header: bytes, size: int, ports: Ports) -> Iterator[Path]:
    """Yield a file of `size` bytes with a header and nothing else: most of it takes no room on the disk."""
    with scratch_directory(ports.store.temporary) as folder:
        path = folder / "header.gguf"
        path.write_bytes(header)
        os.truncate(path, size)
        yield path
