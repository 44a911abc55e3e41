"""Arrays of texts in a GGUF's metadata."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from lftool.formats.gguf_read import GGUFArray

if TYPE_CHECKING:
    from lftool.formats.gguf_read import GGUFValue

_STRING = 8


def text_array(file: BinaryIO, value: GGUFValue | None, start: int = 0) -> list[bytes] | None:
    """Return the elements of a metadata value, as bytes; None if it is not an array of texts.

    Args:
        file: A file with the GGUF.
        value: The value, as `read_gguf` found it: its header has been checked.
        start: Where the GGUF begins in the file, in bytes.
    """
    if not isinstance(value, GGUFArray) or value.element_type != _STRING:
        return None
    file.seek(start + value.start)
    data, found, position = file.read(value.end - value.start), [], 0
    for _ in range(value.count):
        (length,) = struct.unpack_from("<Q", data, position)
        found.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    return found
