"""Decode text files as UTF-8; the error names the actual encoding."""

from __future__ import annotations

from typing import NoReturn

from lftool.errors import FormatError, LftoolError

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SAVE = "save it as UTF-8 without a byte order mark"


def decode_utf8(data: bytes, what: str, error: type[LftoolError] = FormatError) -> str:
    """Return the text of a file.

    Args:
        data: Its content.
        what: Its name, for messages.
        error: What to raise.

    Raises:
        LftoolError: Of class `error`; it starts with a byte order mark, or is UTF-16 or another encoding.
    """

    def refuse(why: str) -> NoReturn:
        raise error(f"{what}: {why}", hints=(_SAVE,))

    if data.startswith(_BOM):
        refuse("it begins with a byte order mark (BOM)")
    if data.startswith(_UTF16) or (len(data) > 1 and data[:2].count(0) == 1):
        refuse("it is UTF-16, and UTF-8 is expected")
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        refuse(f"byte 0x{data[problem.start]:02x} in line {line} is not UTF-8; the file may be Latin-1 or Windows-1252")
