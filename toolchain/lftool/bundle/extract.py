"""Write prefix and members of a bundle into a folder, each name checked, nothing overwritten."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lftool.errors import UsageError
from lftool.store.durable import durable_file, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.bundle.reader import Bundle

_PIECE = 1 << 24


def extract(bundle: Bundle, directory: Path) -> list[Path]:
    """Write the bundle's parts below `directory`; return the paths, in file order.

    The prefix becomes `model.gguf` or `runtime`; members keep their paths.

    Raises:
        UsageError: The folder is not empty.
        StorageError: It cannot be written.
    """
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty", hints=("extract into a new folder",))
    parts = [(bundle.manifest.prefix_path, 0, bundle.manifest.prefix.size)]
    parts += [(item.entry.path, item.data_offset, item.entry.size) for item in bundle.arrangement.members]
    written = []
    for name, offset, size in parts:
        destination = directory / name
        with durable_file(destination.parent, "extract") as out, storage_errors("write", destination):
            done = 0
            while done < size:
                piece = os.pread(bundle.descriptor, min(_PIECE, size - done), offset + done)
                out.file.write(piece)
                done += len(piece)
            out.commit(destination, mode=0o755 if name == "runtime" else 0o644)
        written.append(destination)
    return written
