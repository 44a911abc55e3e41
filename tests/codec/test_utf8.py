from __future__ import annotations

import pytest

from lftool.codec.utf8 import decode_utf8
from lftool.errors import RecipeError

BOM = "it begins with a byte order mark (BOM)"
UTF16 = "it is UTF-16, and UTF-8 is expected"
REFUSED = {
    "UTF-8 with a byte order mark": (b"\xef\xbb\xbfa", BOM),
    "UTF-16, least byte first": (b"\xff\xfe\x16\x20", UTF16),
    "UTF-16, greatest byte first": (b"\xfe\xff\x20\x16", UTF16),
    "UTF-16 without a mark, least byte first": (b"a\0", UTF16),
    "UTF-16 without a mark, greatest byte first": (b"\0a", UTF16),
    "Latin-1": (b"a\n\xe9\n", "byte 0xe9 in line 2 is not UTF-8; the file may be Latin-1 or Windows-1252"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_another_encoding_is_named_and_refused(data: bytes, why: str):
    with pytest.raises(RecipeError) as caught:
        decode_utf8(data, "lftool.toml", RecipeError)
    assert (caught.value.message, caught.value.hints) == (
        f"lftool.toml: {why}",
        ("save it as UTF-8 without a byte order mark",),
    )


@pytest.mark.parametrize("text", ["", "a", "é\n", "\0", "\0\0", "\0\0a", "ab\0", "a\ufeff", "𝄞"])
def test_utf_8_is_decoded_whatever_the_characters(text: str):
    assert decode_utf8(text.encode(), "x") == text
