"""Headers of weights that are not in the store, because they were converted, hashed and quantised in one pass.

A header is enough to plan another quantisation, and takes a few megabytes where the weights take gigabytes.
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
    """Return a file that starts like the weights, up to their data; None if no header is known."""
    known = (ports.store.actions.said(header_key(weights)) or {}).get(_HEADER)
    if known is None or not ports.store.blobs.is_sound(known):
        return None
    return ports.store.blobs.require(known, "the header of converted weights")


@contextlib.contextmanager
def skeleton(header: bytes, size: int, ports: Ports) -> Iterator[Path]:
    """Yield a sparse file of `size` bytes that contains only a header."""
    with scratch_directory(ports.store.temporary) as folder:
        path = folder / "header.gguf"
        path.write_bytes(header)
        os.truncate(path, size)
        yield path
