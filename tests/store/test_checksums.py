"""CRC-32 is that of zlib, whichever library computes it."""

from __future__ import annotations

import importlib
import sys
import zlib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from lftool.store import checksums

if TYPE_CHECKING:
    import pytest


@given(pieces=st.lists(st.binary(max_size=300), max_size=5))
def test_it_is_that_of_zlib_piece_by_piece(pieces):
    found = 0
    for piece in pieces:
        found = checksums.crc32(memoryview(piece), found)
    assert found == zlib.crc32(b"".join(pieces))


def test_zlib_stands_in_where_isal_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "isal.isal_zlib", None)
        assert importlib.reload(checksums).crc32 is zlib.crc32
    assert importlib.reload(checksums).crc32 is not zlib.crc32
