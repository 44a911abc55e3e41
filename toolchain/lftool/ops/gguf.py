"""`lftool gguf repair`: make a valid copy of a GGUF that llama.cpp reads although its end or text breaks the format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import FormatError, UsageError
from lftool.formats.gguf_read import padding, read_damaged_gguf
from lftool.formats.gguf_write import copied_header, metadata_entry
from lftool.store.durable import durable_file, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from lftool.formats.gguf_read import GGUFHeader

_PIECE = 4 * 1024 * 1024


def _entries(file: BinaryIO, header: GGUFHeader) -> list[bytes]:
    """Return the metadata unchanged, except for text that is not UTF-8."""
    found = []
    for key, (begin, end) in header.extents.items():
        file.seek(begin)
        entry, value = file.read(end - begin), header.metadata[key]
        changed = isinstance(value, str) and not entry.endswith(value.encode())
        found.append(metadata_entry(key, value) if changed and isinstance(value, str) else entry)
    return found


def _pieces(file: BinaryIO, header: GGUFHeader, what: str) -> Iterator[bytes]:
    """Yield a valid GGUF: a header, and the data of every tensor with its padding.

    Raises:
        FormatError: The file has become shorter in the meantime.
    """
    yield copied_header(_entries(file, header), header.tensors, header.alignment)
    for tensor in header.tensors:
        file.seek(header.data_offset + tensor.offset)
        left = tensor.size
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise FormatError(f"{what}: it became shorter while being read")
            yield piece
            left -= len(piece)
        yield bytes(padding(tensor.size, header.alignment))


def repair_gguf(source: Path, destination: Path) -> tuple[str, ...]:
    """Write a valid copy of a GGUF; return one sentence per change. If nothing is wrong, write nothing.

    Raises:
        FormatError: The damage cannot be repaired.
        UsageError: The destination exists.
        StorageError: It cannot be read or written.
    """
    if destination.exists():
        raise UsageError(f"{destination} already exists", hints=("name another file",))
    with storage_errors("read", source), source.open("rb") as file:
        header, notes = read_damaged_gguf(file, source.stat().st_size, source.name)
        if not notes:
            return ()
        with durable_file(destination.absolute().parent, "extract") as out:
            for piece in _pieces(file, header, source.name):
                with storage_errors("write", destination):
                    out.file.write(piece)
            out.commit(destination.absolute(), mode=0o644, replace=False)
    return notes
