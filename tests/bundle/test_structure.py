"""Where members go and what their headers are: golden vectors, regenerated here from the specification too."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.bundle.structure import (
    END64_SIZE,
    END_SIZE,
    LOCATOR_SIZE,
    DirectoryEntry,
    Entry,
    arrange,
    local_header,
    parse_directory,
    parse_end,
)

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
TAIL = END64_SIZE + LOCATOR_SIZE + END_SIZE
SEGMENT = st.text("AZaz09_+=-", min_size=1, max_size=12)
SIZES = st.one_of(st.integers(0, 1 << 20), st.integers(2**32 - 3, 2**32 + 3), st.integers(0, 2**40))

entries = st.lists(
    st.builds(
        Entry,
        path=st.lists(SEGMENT, min_size=1, max_size=3).map("/".join),
        size=SIZES,
        crc32=st.integers(0, 2**32 - 1),
        aligned=st.booleans(),
    ),
    max_size=12,
)
prefix_sizes = st.one_of(st.integers(1, 1 << 20), st.integers(2**32 - 2000, 2**32 + 3), st.integers(1, 2**41))


def entries_of(vector: dict) -> list[Entry]:
    if "count" in vector:
        return [Entry(path=f"m/{index:05}", size=0, crc32=0, aligned=False) for index in range(vector["count"])]
    return [
        Entry(path=item["path"], size=item["size"], crc32=int(item["crc32"], 16), aligned=item["aligned"])
        for item in vector["members"]
    ]


@pytest.mark.parametrize("name", VECTORS)
def test_arrange_gives_the_vector(name):
    vector = VECTORS[name]
    made = arrange(vector["prefix_size"], entries_of(vector))
    last = made.members[-1]
    record, ends = bytes.fromhex(vector["central_record"]), bytes.fromhex(vector["end_records"])

    assert (last.header.hex(), last.header_offset) == (vector["local_header"], vector["header_offset"])
    assert made.directory.endswith(record + ends)
    assert (made.directory_offset, made.size) == (vector["directory_offset"], vector["size"])
    assert hashlib.sha256(made.directory).hexdigest() == vector["directory_sha256"]


@pytest.mark.parametrize("name", VECTORS)
def test_the_specification_gives_the_vector(name, spec):
    vector = VECTORS[name]
    position = vector["prefix_size"]
    header, offset, record, directory = b"", 0, b"", []
    for item in entries_of(vector):
        path = item.path.encode()
        header = spec.local_header(path, item.size, item.crc32)
        offset = position
        if item.aligned:
            offset = -(-(position + len(header)) // 65536) * 65536 - len(header)
        position = offset + len(header) + item.size
        record = spec.central_record(path, item.size, item.crc32, offset)
        directory.append(record)
    central = b"".join(directory)
    ends = spec.end_records(len(directory), len(central), position)

    assert {
        "local_header": header.hex(),
        "header_offset": offset,
        "central_record": record.hex(),
        "end_records": ends.hex(),
        "directory_offset": position,
        "directory_sha256": hashlib.sha256(central + ends).hexdigest(),
        "size": position + len(central) + len(ends),
    }.items() <= vector.items()


@pytest.mark.parametrize(
    ("name", "wide"),
    [
        ("a small member", ""),
        ("the largest member without ZIP64", "end"),
        ("the smallest member with ZIP64", "local central end"),
        ("the largest offset without ZIP64", "end"),
        ("the smallest offset with ZIP64", "central end"),
        ("a directory exactly at the limit", "end"),
        ("65534 members", ""),
        ("65535 members", "end"),
    ],
)
def test_zip64_stands_where_a_value_needs_it_and_nowhere_else(name, wide):
    vector = VECTORS[name]
    local, central = bytes.fromhex(vector["local_header"]), bytes.fromhex(vector["central_record"])
    found = [
        *["local"] * (struct.unpack_from("<H", local, 28)[0] > 0),
        *["central"] * (struct.unpack_from("<H", central, 30)[0] > 0),
        *["end"] * (len(bytes.fromhex(vector["end_records"])) > END_SIZE),
    ]
    assert " ".join(found) == wide


def tail_of(prefix_size: int, placed: list[Entry]) -> tuple[bytes, int, int]:
    """The last 98 bytes, the size, and the offset of the directory; content before the directory is all zeros."""
    made = arrange(prefix_size, placed)
    short = min(made.directory_offset, TAIL)
    return (bytes(short) + made.directory)[-min(TAIL, made.size) :], made.size, made.directory_offset


@settings(max_examples=80, deadline=None)
@given(prefix_sizes, entries)
def test_what_arrange_writes_is_read_back(prefix_size, placed):
    tail, size, offset = tail_of(prefix_size, placed)
    made = arrange(prefix_size, placed)

    found, length, count = parse_end(tail, size)
    assert (found, count) == (offset, len(placed))
    assert parse_directory(made.directory[:length], count) == [
        DirectoryEntry(path=item.entry.path, size=item.entry.size, crc32=item.entry.crc32, offset=item.header_offset)
        for item in made.members
    ]


@settings(max_examples=80, deadline=None)
@given(prefix_sizes, entries)
def test_members_follow_one_another_and_aligned_data_starts_at_64_kib(prefix_size, placed):
    made = arrange(prefix_size, placed)
    position = prefix_size
    for item in made.members:
        assert item.header_offset == position + item.gap
        assert item.data_offset == item.header_offset + len(item.header)
        assert item.header == local_header(item.entry)
        if item.entry.aligned:
            assert item.data_offset % 65536 == 0
            assert item.gap < 65536
        else:
            assert item.gap == 0
        position = item.end
    assert made.directory_offset == position


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**64))
def test_parse_end_of_anything_answers_or_raises_value_error(tail, size):
    try:
        offset, length, count = parse_end(tail, size)
    except ValueError:
        return
    assert 0 <= offset <= size
    assert 0 <= length <= size
    assert count >= 0


@settings(max_examples=120, deadline=None)
@given(prefix_sizes, entries, st.data())
def test_parse_directory_of_changed_bytes_answers_or_raises_value_error(prefix_size, placed, data):
    changed = bytearray(arrange(prefix_size, placed).directory)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_directory(bytes(changed), len(placed))
    except ValueError:
        return
    assert len(found) == len(placed)


def test_an_archive_of_nothing_has_an_end_record_alone():
    assert parse_end(arrange(0, []).directory, END_SIZE) == (0, 0, 0)


def one() -> bytes:
    return arrange(10, [Entry(path="a", size=1, crc32=2, aligned=False)]).directory[:-END_SIZE]


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (b"", 1, "the directory holds fewer records than the end record says"),
        (one() + one(), 1, "the directory holds more than the end record says"),
        (one(), 2, "the directory holds fewer records than the end record says"),
        (one() + b"\0", 1, "the directory holds more than the end record says"),
        (one()[:40], 1, "the directory holds fewer records than the end record says"),
        (one()[:-1] + b"\xe9", 1, "a member path is not ASCII"),
        (one()[:30] + struct.pack("<H", 11) + one()[32:] + bytes(11), 1, "a record's extra field does not fit"),
    ],
)
def test_a_directory_that_does_not_add_up_is_refused(data, count, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_directory(data, count)


def test_a_record_may_end_with_the_directory():
    """A record without a name is as long as its fixed part; who reads a bundle refuses such a path."""
    record = bytearray(one()[:46])
    record[28:32] = bytes(4)  # the lengths of name and extra fields
    (found,) = parse_directory(bytes(record), 1)
    assert (found.path, found.size, found.crc32) == ("", 1, 2)


FULL = 2**32 - 1


@pytest.mark.parametrize(
    ("size", "offset", "wide", "expected"),
    [
        (FULL, 5, (10, 11), (10, 5)),
        (7, FULL, (20, 21), (7, 20)),
        (FULL, FULL, (30,), (FULL, 30)),
        (FULL, FULL, (40, 41, 42), (40, 42)),
        (7, 5, (50, 51, 52), (7, 5)),
    ],
)
def test_wide_fields_stand_for_the_full_ones_in_their_order(size, offset, wide, expected):
    """APPNOTE 4.5.3: size, compressed size, offset, each only where the field of 32 bits is full."""
    record = bytearray(one()[:46])
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide)
    record[24:32] = struct.pack("<IHH", size, 0, len(extra))
    record[42:46] = struct.pack("<I", offset)
    (found,) = parse_directory(bytes(record) + extra, 1)
    assert (found.size, found.offset) == expected
