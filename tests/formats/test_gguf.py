from __future__ import annotations

import io
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.errors import FormatError
from lftool.formats import gguf_read as gguf
from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_read import GGUFArray, GGUFHeader, GGUFTensor, read_gguf

U8, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 5, 6, 7, 8, 9, 10
MIB = 1024 * 1024


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(name: bytes, kind: int, count: int, items: bytes = b"") -> bytes:
    return key(name, ARRAY, struct.pack("<IQ", kind, count) + items)


def tensor(name: bytes = b"a", dimensions: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


def start(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def header(keys: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = ()) -> bytes:
    return start(len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)


def whole(head: bytes, data: int, alignment: int = 32) -> bytes:
    """A header, padding, and `data` bytes of tensor data."""
    return head + bytes(-len(head) % alignment) + bytes(data)


def of_tensors(*tensors: bytes, data: int) -> bytes:
    return whole(header((), tensors), data)


def read(data: bytes) -> GGUFHeader:
    return read_gguf(io.BytesIO(data), len(data), "model.gguf")


def refusal(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        read(data)
    return caught.value.message


GOOD_ENTRIES = (
    key(b"general.architecture", STRING, text(b"llama")),
    key(b"a.flag", BOOL, b"\x01"),
    key(b"a.count", U32, struct.pack("<I", 7)),
    key(b"a.real", F32, struct.pack("<f", 0.5)),
    array(b"a.numbers", I32, 3, struct.pack("<3i", 1, -2, 3)),
    array(b"a.tokens", STRING, 2, text(b"one") + text(b"two")),
)
GOOD_HEAD = header(
    GOOD_ENTRIES,
    (tensor(b"first", (8, 2)), tensor(b"second", (4,), offset=64)),
)
GOOD = whole(GOOD_HEAD, 64 + 32)
GOOD_DATA = len(GOOD) - 96
GOOD_EXTENTS = [(GOOD.index(entry), GOOD.index(entry) + len(entry)) for entry in GOOD_ENTRIES]


def test_a_sound_file_gives_everything_its_header_says():
    numbers = GOOD.index(struct.pack("<3i", 1, -2, 3))
    tokens = GOOD.index(text(b"one") + text(b"two"))
    expected = GGUFHeader(
        version=3,
        alignment=32,
        metadata={
            "general.architecture": "llama",
            "a.flag": True,
            "a.count": 7,
            "a.real": 0.5,
            "a.numbers": GGUFArray(element_type=I32, count=3, start=numbers, end=numbers + 12),
            "a.tokens": GGUFArray(element_type=STRING, count=2, start=tokens, end=tokens + 22),
        },
        tensors=(
            GGUFTensor(name="first", dimensions=(8, 2), type=GGML_TYPES["F32"], offset=0, size=64),
            GGUFTensor(name="second", dimensions=(4,), type=GGML_TYPES["F32"], offset=64, size=16),
        ),
        data_offset=GOOD_DATA,
        size=len(GOOD),
        extents=dict(zip(read(GOOD).metadata, GOOD_EXTENTS, strict=True)),
    )
    assert read(GOOD) == expected


def test_a_header_counts_elements_and_bytes_by_type():
    made = read(of_tensors(tensor(b"q", (32, 2), 8), tensor(b"f", (3,), offset=96), data=128))
    assert (made.elements, made.bytes_by_type()) == (67, {"F32": 12, "Q8_0": 68})


def test_version_2_is_read():
    assert read(whole(start(1, 0, version=2) + tensor(), 32)).version == 2


def test_a_file_without_tensors_is_read():
    assert read(header((key(b"k", BOOL, b"\x00"),))).metadata == {"k": False}


def test_a_file_that_is_only_padded_to_its_alignment_has_no_tensors():
    """llama.cpp pads the header even when no tensor follows."""
    assert read(whole(header((key(b"k", BOOL, b"\x00"),)), 0)).tensors == ()


def test_a_larger_alignment_is_honoured():
    head = header((key(b"general.alignment", U32, struct.pack("<I", 128)),), (tensor(b"a"), tensor(b"b", offset=128)))
    made = read(whole(head, 256, 128))
    assert (made.alignment, made.data_offset, [t.offset for t in made.tensors]) == (128, 128, [0, 128])


def test_a_gguf_is_read_from_an_offset_within_a_file():
    file = io.BytesIO(b"#!/bin/sh\n" * 10 + GOOD + b"what follows")
    assert read_gguf(file, len(GOOD), "bundle", start=100) == read(GOOD)


def test_an_offset_does_not_shift_the_bytes_that_a_message_names():
    file = io.BytesIO(b"#!/bin/sh\n" * 10 + GOOD[:50])
    with pytest.raises(FormatError) as caught:
        read_gguf(file, 50, "bundle", start=100)
    assert caught.value.message == (
        "bundle: not a sound GGUF: the file ends at byte 50 inside its header: it is truncated"
    )


BAD_HEADERS = {
    "another magic": (b"GGML" + GOOD[4:], "it starts with b'GGML', not b'GGUF'"),
    "text": (b"<!DOCTYPE html>", "it starts with b'<!DO', not b'GGUF'"),
    "version 1": (start(0, 0, 1), "version 1, expected 2 or 3, little-endian"),
    "version 4": (start(0, 0, 4), "version 4, expected 2 or 3, little-endian"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648, expected 2 or 3, little-endian"),
    "too many tensors": (start(65_537, 0), "65537 tensors, at most 65536 are allowed"),
    "absurdly many tensors": (start(2**64 - 1, 0), "18446744073709551615 tensors, at most 65536 are allowed"),
    "too many keys": (start(0, 65_537), "65537 keys, at most 65536 are allowed"),
    "absurdly many keys": (start(0, 2**63), "9223372036854775808 keys, at most 65536 are allowed"),
    "key too long": (
        header((key(b"k" * 65_536, U8, b"\x00"),)),
        "a key of 65536 bytes, at most 65535 are allowed",
    ),
    "key of absurd length": (
        start(0, 1) + struct.pack("<Q", 2**64 - 1),
        "a key of 18446744073709551615 bytes, at most 65535 are allowed",
    ),
    "empty key": (header((key(b"", U8, b"\x00"),)), "a key is empty"),
    "key not UTF-8": (header((key(b"\xff", U8, b"\x00"),)), "a key is not UTF-8"),
    "duplicate key": (header((key(b"k", U8, b"\x00"), key(b"k", U8, b"\x01"))), "the key 'k' appears twice"),
    "nested array": (
        header((array(b"k", ARRAY, 1, struct.pack("<IQ", U8, 0)),)),
        "array 'k' holds arrays; nested arrays are refused",
    ),
    "array of unknown type": (header((array(b"k", 13, 0),)), "array 'k' has the unknown element type 13"),
    "huge array": (
        header((array(b"k", U8, 16 * MIB + 1),)),
        "array 'k' has 16777217 elements, at most 16777216 are allowed",
    ),
    "array of absurd count": (
        header((array(b"k", U64, 2**64 - 1),)),
        "array 'k' has 18446744073709551615 elements, at most 16777216 are allowed",
    ),
    "array of too many strings": (
        header((array(b"k", STRING, 4 * MIB + 1),)),
        "array 'k' has 4194305 strings, at most 4194304 are allowed",
    ),
    "array of a huge string": (
        header((array(b"k", STRING, 1, struct.pack("<Q", 16 * MIB + 1)),)),
        "array 'k' has a string of 16777217 bytes, at most 16777216 are allowed",
    ),
    "huge string": (
        header((key(b"k", STRING, struct.pack("<Q", 16 * MIB + 1)),)),
        "the value of 'k' of 16777217 bytes, at most 16777216 are allowed",
    ),
    "string of absurd length": (
        header((key(b"k", STRING, struct.pack("<Q", 2**64 - 1)),)),
        "the value of 'k' of 18446744073709551615 bytes, at most 16777216 are allowed",
    ),
    "string not UTF-8": (header((key(b"k", STRING, text(b"\xc3\x28")),)), "the value of 'k' is not UTF-8"),
    "boolean of 2": (header((key(b"k", BOOL, b"\x02"),)), "'k' is a boolean of value 2"),
    "unknown value type": (header((key(b"k", 13, b""),)), "'k' has the unknown value type 13"),
    "value type of all ones": (header((key(b"k", 2**32 - 1, b""),)), "'k' has the unknown value type 4294967295"),
    "alignment 0": (
        header((key(b"general.alignment", U32, struct.pack("<I", 0)),)),
        "general.alignment is 0, not a power of two up to 65536",
    ),
    "alignment 48": (
        header((key(b"general.alignment", U32, struct.pack("<I", 48)),)),
        "general.alignment is 48, not a power of two up to 65536",
    ),
    "alignment of 128 KiB": (
        header((key(b"general.alignment", U32, struct.pack("<I", 131_072)),)),
        "general.alignment is 131072, not a power of two up to 65536",
    ),
    "negative alignment": (
        header((key(b"general.alignment", I32, struct.pack("<i", -32)),)),
        "general.alignment is -32, not a power of two up to 65536",
    ),
    "alignment as text": (
        header((key(b"general.alignment", STRING, text(b"32")),)),
        "general.alignment is not a 32-bit number, and llama.cpp loads no other",
    ),
    "alignment as a boolean": (
        header((key(b"general.alignment", BOOL, b"\x01"),)),
        "general.alignment is not a 32-bit number, and llama.cpp loads no other",
    ),
    "alignment as a float": (
        header((key(b"general.alignment", F32, struct.pack("<f", 32)),)),
        "general.alignment is 32.0, not a power of two up to 65536",
    ),
    "tensor name too long": (
        header((), (tensor(b"n" * 256),)),
        "a tensor name of 256 bytes, at most 63 are allowed",
    ),
    "tensor name not UTF-8": (header((), (tensor(b"\xff"),)), "a tensor name is not UTF-8"),
    "no dimensions": (of_tensors(tensor(dimensions=()), data=32), "tensor 'a' has 0 dimensions, 1 to 4 are allowed"),
    "five dimensions": (
        of_tensors(tensor(dimensions=(1, 1, 1, 1, 1)), data=32),
        "tensor 'a' has 5 dimensions, 1 to 4 are allowed",
    ),
    "absurdly many dimensions": (
        start(1, 0) + text(b"a") + struct.pack("<I", 2**32 - 1),
        "tensor 'a' has 4294967295 dimensions, 1 to 4 are allowed",
    ),
    "zero dimension": (of_tensors(tensor(dimensions=(8, 0)), data=32), "tensor 'a' has a dimension of 0"),
    "elements overflow": (
        of_tensors(tensor(dimensions=(2**32, 2**32)), data=32),
        "tensor 'a' has more elements than fit into 63 bits",
    ),
    "one dimension overflows": (
        of_tensors(tensor(dimensions=(2**63,)), data=32),
        "tensor 'a' has more elements than fit into 63 bits",
    ),
    "bytes overflow": (
        of_tensors(tensor(dimensions=(2**62,)), data=32),
        "tensor 'a' ends 18446744073709551584 bytes past the end of the file: it is truncated, or its header lies",
    ),
    "unknown tensor type": (of_tensors(tensor(kind=4), data=32), "tensor 'a' has the unknown type 4"),
    "broken block": (
        of_tensors(tensor(dimensions=(33,), kind=2), data=32),
        "tensor 'a': a row of 33 is not a multiple of 32 (Q4_0)",
    ),
    "broken super-block": (
        of_tensors(tensor(dimensions=(128, 2), kind=12), data=160),
        "tensor 'a': a row of 128 is not a multiple of 256 (Q4_K)",
    ),
    "unaligned offset": (
        of_tensors(tensor(b"a"), tensor(b"b", offset=33), data=96),
        "tensor 'b' starts at 33, which is not aligned to 32",
    ),
    "overlap": (
        of_tensors(tensor(b"a", (16,)), tensor(b"b", offset=32), data=96),
        "tensor 'b' starts at 32 and overlaps the one before, which ends at 64",
    ),
    "same offset": (
        of_tensors(tensor(b"a"), tensor(b"b", offset=0), data=64),
        "tensor 'b' starts at 0 and overlaps the one before, which ends at 32",
    ),
    "tensors not in file order": (
        of_tensors(tensor(b"a", offset=32), tensor(b"b", offset=0), data=64),
        "tensor 'a' starts at 32, expected 0: 32 bytes hide before it",
    ),
    "gap": (
        of_tensors(tensor(b"a"), tensor(b"b", offset=96), data=128),
        "tensor 'b' starts at 96, expected 32: 64 bytes hide before it",
    ),
    "offset near 2**64": (
        of_tensors(tensor(b"a"), tensor(b"b", offset=2**64 - 32), data=64),
        "tensor 'b' starts at 18446744073709551584, expected 32: 18446744073709551552 bytes hide before it",
    ),
    "out of bounds": (
        of_tensors(tensor(b"a"), tensor(b"b", (16,), offset=32), data=64),
        "tensor 'b' ends 32 bytes past the end of the file: it is truncated, or its header lies",
    ),
    "bytes after the last tensor": (GOOD + bytes(32), "32 bytes follow the last tensor"),
    "one byte after the last tensor": (GOOD + b"!", "1 bytes follow the last tensor"),
    "bytes after a header without tensors": (
        header((key(b"k" * 27, U8, b"\x00"),)) + b"!" * 40,
        "40 bytes follow the last tensor",
    ),
    "padding missing": (GOOD[:-16], "16 padding bytes are missing after the last tensor"),
    "duplicate tensor name": (
        of_tensors(tensor(b"a"), tensor(b"a", offset=32), data=64),
        "a tensor name appears twice",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_bad_header_is_refused(data: bytes, message: str):
    assert refusal(data) == f"model.gguf: not a sound GGUF: {message}"


PICKLE_MESSAGE = "model.gguf: looks like a pickle checkpoint; those run code when loaded and are refused"


@pytest.mark.parametrize(
    "first",
    [b"\x80\x02\x8a\x0a", b"\x80\x03ccollections", b"\x80\x04\x95\x00", b"\x80\x05\x95\x00", b"PK\x03\x04\x00\x00"],
    ids=["protocol 2", "protocol 3", "protocol 4", "protocol 5", "zip of torch.save"],
)
def test_a_pickle_is_refused_and_the_hint_names_what_to_use(first: bytes):
    with pytest.raises(FormatError) as caught:
        read(first + bytes(64))
    assert (caught.value.message, caught.value.hints) == (
        PICKLE_MESSAGE,
        ("use the model's GGUF or safetensors files",),
    )


def test_a_file_cut_at_any_byte_of_its_header_is_truncated():
    expected = [
        f"model.gguf: not a sound GGUF: the file ends at byte {end} inside its header: it is truncated"
        for end in range(len(GOOD_HEAD))
    ]
    assert [refusal(GOOD[:end]) for end in range(len(GOOD_HEAD))] == expected


def test_a_file_cut_between_header_and_data_is_truncated():
    cuts = range(len(GOOD_HEAD), GOOD_DATA)
    expected = [
        f"model.gguf: not a sound GGUF: the file ends at byte {end} before its tensor data: it is truncated"
        for end in cuts
    ]
    assert [refusal(GOOD[:end]) for end in cuts] == expected


def test_a_file_cut_at_any_byte_of_its_data_is_truncated():
    past = "past the end of the file: it is truncated, or its header lies"
    for kept in range(96):
        got = refusal(GOOD[: GOOD_DATA + kept])
        if kept < 64:
            expected = f"tensor 'first' ends {64 - kept} bytes {past}"
        elif kept < 80:
            expected = f"tensor 'second' ends {80 - kept} bytes {past}"
        else:
            expected = f"{96 - kept} padding bytes are missing after the last tensor"
        assert got == f"model.gguf: not a sound GGUF: {expected}"


def test_a_file_that_shrank_since_its_size_was_taken_is_truncated():
    with pytest.raises(FormatError) as caught:
        read_gguf(io.BytesIO(GOOD[:40]), len(GOOD), "model.gguf")
    assert caught.value.message == (
        "model.gguf: not a sound GGUF: the file ends at byte 40 inside its header: it is truncated"
    )


def test_a_header_larger_than_its_budget_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "huge.gguf"
    elements, skipped = 16 * MIB, 128 * MIB
    with path.open("wb") as file:
        file.write(start(0, 3))
        for name in (b"a", b"b", b"c"):
            file.write(array(name, U64, elements))
            file.seek(skipped, io.SEEK_CUR)
        file.truncate(400 * MIB)
    with path.open("rb") as file, pytest.raises(FormatError) as caught:
        read_gguf(file, 400 * MIB, "huge.gguf")
    assert caught.value.message == "huge.gguf: not a sound GGUF: the header is larger than 268435456 bytes"


def test_millions_of_empty_strings_are_refused_before_they_are_walked():
    count = 5_000_000
    data = header((array(b"tokens", STRING, count),)) + bytes(8 * count)
    began = time.perf_counter()
    message = refusal(data)
    assert message == "model.gguf: not a sound GGUF: array 'tokens' has 5000000 strings, at most 4194304 are allowed"
    assert time.perf_counter() - began < 1


def test_many_arrays_of_strings_share_one_budget(monkeypatch):
    """Else a header of 256 MB within every other budget takes the reader half a minute."""
    monkeypatch.setattr(gguf, "MAX_ARRAY_STRINGS", 1000)
    data = header((array(b"one", STRING, 1000, bytes(8000)), array(b"two", STRING, 1, bytes(8))))
    assert refusal(data) == "model.gguf: not a sound GGUF: its arrays hold 1001 strings, at most 1000 are allowed"


def test_an_array_of_strings_within_the_budget_is_read(monkeypatch):
    monkeypatch.setattr(gguf, "MAX_ARRAY_STRINGS", 3)
    made = read(header((array(b"k", STRING, 3, bytes(24)),)))
    assert made.metadata == {"k": GGUFArray(element_type=STRING, count=3, start=49, end=73)}


CHANGES = st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6)


def check_sound_or_refused(data: bytes) -> None:
    try:
        made = read(data)
    except FormatError:
        return
    end = 0
    for item in made.tensors:
        assert item.offset == end
        end = item.offset + item.size + -item.size % made.alignment
    assert made.data_offset + end == len(data) or not made.tensors


@settings(max_examples=400, deadline=2000)
@given(CHANGES)
def test_changed_bytes_are_refused_as_a_format_error_or_leave_a_sound_file(changes):
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    check_sound_or_refused(bytes(data))


@settings(max_examples=300, deadline=2000)
@given(
    st.integers(0, len(GOOD_HEAD) - 8),
    st.sampled_from([0, 1, 2**16, 2**24, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]),
)
def test_a_number_of_any_size_anywhere_in_the_header_is_refused_or_harmless(position, number):
    data = GOOD[:position] + struct.pack("<Q", number) + GOOD[position + 8 :]
    check_sound_or_refused(data)


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=200))
def test_random_bytes_behind_the_magic_are_refused_or_sound(rest):
    check_sound_or_refused(b"GGUF\x03\x00\x00\x00" + rest)


@settings(max_examples=200, deadline=2000)
@given(st.integers(0, len(GOOD_HEAD)), st.binary(min_size=1, max_size=40))
def test_inserted_bytes_are_refused_or_leave_a_sound_file(position, inserted):
    check_sound_or_refused(GOOD[:position] + inserted + GOOD[position:])
