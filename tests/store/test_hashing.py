"""hashing: however the bytes come in, name and facts are the same."""

from __future__ import annotations

import hashlib
import io
import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import CHUNK_SIZE
from lftool.store.hashing import Blob, BlobHasher, Facts, hash_bytes, hash_pieces, read_chunks

PATTERN = bytes(range(251)) * (3 * CHUNK_SIZE // 251 + 1)  # 251 is prime: no two chunks are equal
SIZES = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE - 1, 2 * CHUNK_SIZE, 2 * CHUNK_SIZE + 1]


def by_definition(data: bytes) -> Blob:
    chunks = [data[start : start + CHUNK_SIZE] for start in range(0, len(data), CHUNK_SIZE)]
    return Blob(
        artifact=Artifact(Digest(hashlib.sha256(data).hexdigest()), len(data)),
        facts=Facts(
            crc32=zlib.crc32(data),
            chunks=b"".join(hashlib.sha256(chunk).digest() for chunk in chunks),
        ),
    )


@pytest.mark.parametrize("size", SIZES)
def test_facts_around_chunk_boundaries_are_those_of_the_definition(size):
    data = PATTERN[:size]
    assert hash_bytes(data) == hash_pieces([data]) == by_definition(data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, 1_000_003])
def test_pieces_around_the_chunk_size_give_the_same_facts(size, piece):
    data = PATTERN[:size]
    assert hash_pieces(data[start : start + piece] for start in range(0, size, piece)) == by_definition(data)


@settings(deadline=None)  # a thread is started each time, and the machine may be busy
@given(st.lists(st.binary(max_size=200)))
def test_any_pieces_give_the_facts_of_the_whole(pieces):
    assert hash_pieces(pieces) == hash_bytes(b"".join(pieces))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2 * CHUNK_SIZE + 1), max_size=6).map(sorted))
def test_any_cuts_of_more_than_two_chunks_give_the_facts_of_the_whole(cuts):
    data = memoryview(PATTERN)[: 2 * CHUNK_SIZE + 1]
    edges = [0, *cuts, len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert hash_pieces(pieces) == WHOLE


WHOLE = by_definition(PATTERN[: 2 * CHUNK_SIZE + 1])


def test_a_piece_may_be_reused_by_the_caller_once_it_has_been_added():
    buffer = bytearray(b"first")
    with BlobHasher() as hasher:
        hasher.update(memoryview(buffer))
        buffer[:] = b"other"
        hasher.update(memoryview(buffer))
        assert hasher.finish() == by_definition(b"firstother")


def test_the_size_counts_what_is_still_pending():
    with BlobHasher() as hasher:
        sizes = [hasher.size]
        for piece in (b"ab", PATTERN[:CHUNK_SIZE], b"c"):
            hasher.update(piece)
            sizes.append(hasher.size)
    assert sizes == [0, 2, CHUNK_SIZE + 2, CHUNK_SIZE + 3]


def test_the_sink_gets_every_piece_in_order():
    got: list[bytes] = []
    hash_pieces([b"a", b"", b"bc"], lambda piece: got.append(bytes(piece)))
    assert got == [b"a", b"", b"bc"]


@given(st.binary(max_size=100), st.integers(0, 120))
def test_read_chunks_reads_up_to_the_size_it_is_given(data, size):
    assert b"".join(bytes(piece) for piece in read_chunks(io.BytesIO(data), size)) == data[:size]


def test_read_chunks_yields_pieces_of_the_chunk_size():
    assert [len(piece) for piece in read_chunks(io.BytesIO(PATTERN[: 2 * CHUNK_SIZE + 1]))] == [
        CHUNK_SIZE,
        CHUNK_SIZE,
        1,
    ]
