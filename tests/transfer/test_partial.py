"""Files in the making: a chunk counts only when its bytes are what the journal says."""

from __future__ import annotations

import os
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.models.digest import Digest
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.buffers import page_aligned_buffer
from lftool.store.partial import partial_file, remove_old_partials
from lftool.transfer.chunks import segments

KEY = Digest.of(b"key")
SIZE = 2 * CHUNK_SIZE + 5


def chunk(index: int) -> memoryview:
    return memoryview(bytes([index + 1]) * min(CHUNK_SIZE, SIZE - index * CHUNK_SIZE))


def put(partial, index: int) -> None:
    partial.write(index * CHUNK_SIZE, chunk(index))
    partial.finish(index, zlib.crc32(chunk(index)))


def test_chunks_are_there_for_the_next_process(tmp_path):
    with partial_file(tmp_path, KEY, SIZE) as partial:
        assert partial.missing == {0, 1, 2}
        put(partial, 2)
        put(partial, 0)

    with partial_file(tmp_path, KEY, SIZE) as partial:
        assert partial.missing == {1}
        assert partial.read(2, page_aligned_buffer(CHUNK_SIZE)) == chunk(2)


def test_a_chunk_that_did_not_reach_the_disk_is_missing(tmp_path):
    with partial_file(tmp_path, KEY, SIZE) as partial:
        put(partial, 0)
        put(partial, 1)
        os.pwrite(partial.descriptor, b"\0", CHUNK_SIZE + 9)

    with partial_file(tmp_path, KEY, SIZE) as partial:
        assert partial.missing == {1, 2}


def test_another_size_keeps_only_what_still_fits(tmp_path):
    with partial_file(tmp_path, KEY, SIZE) as partial:
        for index in range(3):
            put(partial, index)

    with partial_file(tmp_path, KEY, CHUNK_SIZE) as partial:
        assert partial.missing == set()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_journal_makes_bytes_count_that_are_not_there(tmp_path_factory, garbage, after):
    folder = tmp_path_factory.mktemp("partial")
    with partial_file(folder, KEY, SIZE) as partial:
        put(partial, 2)
    journal = folder / f"{KEY.hex}.journal"
    line = journal.read_bytes()
    journal.write_bytes(line + garbage if after else garbage + line)

    with partial_file(folder, KEY, SIZE) as partial:
        assert partial.missing in ({0, 1}, {0, 1, 2})


def test_clearing_forgets_and_discarding_removes(tmp_path):
    with partial_file(tmp_path, KEY, SIZE) as partial:
        put(partial, 0)
        partial.clear()
        assert partial.missing == {0, 1, 2}
        partial.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_went_on_with_for_a_week_is_removed(tmp_path):
    for key in (b"old", b"new"):
        with partial_file(tmp_path, Digest.of(key), SIZE) as partial:
            put(partial, 0)
    for path in tmp_path.glob(f"{Digest.of(b'old').hex}.*"):
        os.utime(path, (0, 0))

    assert remove_old_partials(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{Digest.of(b'new').hex}.data",
        f"{Digest.of(b'new').hex}.journal",
    ]


@given(st.sets(st.integers(0, 200)), st.integers(1, 20))
def test_segments_cover_every_missing_chunk_once_and_no_other(missing, most):
    found = segments(missing, most)

    assert [index for first, end in found for index in range(first, end)] == sorted(missing)
    assert all(0 < end - first <= most for first, end in found)
