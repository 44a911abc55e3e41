"""Write the prefix and members of a bundle into a folder: checks each name, overwrites nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import UsageError
from lftool.store.durable import commit_directory, durable_file, scratch_directory, storage_errors, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.bundle.reader import Bundle

_PIECE = 1 << 24


def extract(bundle: Bundle, directory: Path) -> list[Path]:
    """Write the bundle's parts below `directory`; return their paths, in file order.

    The prefix becomes `model.gguf` or `runtime`; members keep their paths.

    Raises:
        UsageError: The folder is not empty.
        StorageError: It cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty", hints=("extract into a new folder",))
    parts = [(bundle.manifest.prefix_path, 0, bundle.manifest.prefix.size)]
    parts += [(item.entry.path, item.data_offset, item.entry.size) for item in bundle.arrangement.members]
    parent = directory.absolute().parent
    sweep(parent)
    with scratch_directory(parent) as scratch:
        for name, offset, size in parts:
            mode = 0o755 if name == "runtime" else 0o644
            _write_part(bundle, (offset, size), scratch / name, mode, shown=directory / name)
        commit_directory(scratch, directory.absolute(), "extract")
    return [directory / name for name, _, _ in parts]


def copy_weights(bundle: Bundle, destination: Path) -> None:
    """Write the weights of a bundle to a new file that no other process can see yet.

    Raises:
        StorageError: It cannot be written.
    """
    offset, size = bundle.weights_extent()
    with storage_errors("write", destination), destination.open("wb") as out:
        for at in range(0, size, _PIECE):
            out.write(bundle.read(offset + at, min(_PIECE, size - at)))


def _write_part(bundle: Bundle, extent: tuple[int, int], destination: Path, mode: int, *, shown: Path) -> None:
    offset, size = extent
    with durable_file(destination.parent, "extract") as out, storage_errors("write", shown):
        done = 0
        while done < size:
            piece = bundle.read(offset + done, min(_PIECE, size - done))
            out.file.write(piece)
            done += len(piece)
        out.commit(destination, mode=mode)
