"""Canonical or rejected: one defect each, in a bundle that is otherwise sound."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = "lftool/bundle.json"
RECIPE = "lftool/recipe.toml"
NO_END = (
    "error: bad.gguf: not a bundle: no end-of-directory record at the end of the file:"
    " truncated, extended, or not a bundle\n"
)
NO_CANONICAL_DIRECTORY = "error: bad.gguf: not a bundle: the directory is not canonical\n"
NOT_THERE = "error: bad.gguf: not a bundle: the directory does not end where the end records begin\n"
FEWER = "error: bad.gguf: not a bundle: the directory holds fewer records than the end record says\n"
MORE = "error: bad.gguf: not a bundle: the directory holds more than the end record says\n"


def header_of(path: str) -> str:
    return f"error: bad.gguf: not a bundle: the local header of {path}, or the gap before it, is not canonical\n"


def outcome(verify, data: bytes, *options: str, key: str = "release.pub") -> tuple[int, str, str]:
    found = verify(data, *options, key=key)
    return (found.status, found.out, found.err)


def size_message(found: int, described: int) -> str:
    return f"error: bad.gguf: not a bundle: {found} bytes, but its manifest describes {described}\n"


def test_an_archive_taken_apart_and_written_again_is_the_same(archive, plain, start_archive, start):
    """Else the defects below would not be the only ones."""
    assert archive.written() == plain
    assert start_archive.written() == start


def test_the_sound_bundle_is_accepted(verify, plain):
    manifest = hashlib.sha256(plain[slice(*extent(plain, MANIFEST))]).hexdigest()
    assert outcome(verify, plain) == (
        0,
        f"bad.gguf: every byte matches the manifest; M {manifest}\nsigned by release.pub, which you trust\n",
        "",
    )


def extent(data: bytes, path: str) -> tuple[int, int]:
    """Where a member's data is."""
    at = data.index(b"PK\1\2")
    while data[at : at + 4] == b"PK\1\2":
        size, names = struct.unpack_from("<IH", data, at + 24)
        header = struct.unpack_from("<I", data, at + 42)[0]
        if data[at + 46 : at + 46 + names] == path.encode():
            return header + 30 + names, header + 30 + names + size
        at += 46 + names
    raise KeyError(path)


# --- the list of bad input, each with its whole message


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_a_byte_of_the_weights_changed(verify, plain, archive):
    changed = flipped(plain, 500)
    size = len(archive.prefix)
    expected, got = hashlib.sha256(archive.prefix).hexdigest(), hashlib.sha256(changed[:size]).hexdigest()

    assert outcome(verify, changed) == (
        4,
        "",
        f"error: bad.gguf: the prefix: bytes 0 to {size} have been changed: expected sha256 {expected}, got {got}\n",
    )


def test_a_byte_of_the_weights_in_a_member_changed(verify, start, start_archive):
    begin, end = extent(start, "model.gguf")
    changed = flipped(start, begin + 500)
    expected = hashlib.sha256(start[begin:end]).hexdigest()
    got = hashlib.sha256(changed[begin:end]).hexdigest()

    assert outcome(verify, changed) == (
        4,
        "",
        (
            f"error: bad.gguf: model.gguf: bytes 0 to {end - begin} have been changed:"
            f" expected sha256 {expected}, got {got}\n"
        ),
    )


def test_a_byte_of_a_small_member_changed(verify, plain):
    assert outcome(verify, flipped(plain, extent(plain, RECIPE)[0])) == (
        4,
        "",
        f"error: bad.gguf: {RECIPE} is not what the manifest names\n",
    )


def test_a_byte_of_a_local_header_changed(verify, plain):
    assert outcome(verify, flipped(plain, extent(plain, RECIPE)[0] - 40)) == (4, "", header_of(RECIPE))


def test_a_byte_of_the_directory_changed(verify, plain):
    assert outcome(verify, flipped(plain, plain.index(b"PK\1\2") + 12)) == (4, "", NO_CANONICAL_DIRECTORY)


def test_a_byte_of_the_signature_changed(verify, plain, archive):
    begin, _ = extent(plain, archive.signature.path.decode())
    assert outcome(verify, flipped(plain, begin + 100)) == (
        4,
        "",
        "error: bad.gguf: not a bundle: signature members must be named by their sha256, and sorted\n",
    )


@pytest.mark.parametrize("cut", [1, 2, 21, 22, 23, 46, 1000])
def test_truncated(verify, plain, cut):
    assert outcome(verify, plain[:-cut]) == (4, "", NO_END)


@pytest.mark.parametrize("left", [0, 1, 21])
def test_truncated_to_almost_nothing(verify, plain, left):
    assert outcome(verify, plain[:left]) == (4, "", NO_END)


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"PK\5\6"])
def test_extended(verify, plain, tail):
    assert outcome(verify, plain + tail) == (4, "", NO_END)


def test_extended_in_front(verify, plain):
    assert outcome(verify, b"\0" + plain) == (4, "", NOT_THERE)


def test_two_bundles_concatenated(verify, plain):
    assert outcome(verify, plain + plain) == (4, "", NOT_THERE)


def test_two_bundles_of_different_layout_concatenated(verify, plain, start):
    assert outcome(verify, plain + start) == (4, "", NOT_THERE)


def test_a_hidden_member_between_two_others(verify, archive, part, plain):
    archive.parts.insert(2, part(path=b"evil.sh", data=b"rm -rf", listed=False))
    data = archive.written()

    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_a_hidden_member_in_the_alignment_gap(verify, start_archive, spec, start):
    first = start_archive.parts[0]
    hidden = spec.local_header(b"evil.sh", 6, 0) + b"rm -rf"
    first.gap = first.gap[: -len(hidden)] + hidden
    data = start_archive.written()

    assert len(data) == len(start)
    assert outcome(verify, data) == (4, "", header_of("model.gguf"))


def test_a_duplicated_member(verify, archive, plain):
    archive.parts.insert(1, archive.parts[0])
    data = archive.written()

    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_a_member_duplicated_in_the_directory_only(verify, archive, plain):
    archive.order = lambda records: [records[0], *records]
    data = archive.written()

    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_a_manifest_duplicated_in_the_directory(verify, archive, plain):
    at = next(index for index, item in enumerate(archive.parts) if item.path == MANIFEST.encode())
    archive.order = lambda records: [*records[: at + 1], records[at], *records[at + 1 :]]
    data = archive.written()

    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


MISMATCHES = {
    "name": {"path": b"lftool/recipe.tomb"},
    "size": {"size": 1},
    "compressed size": {"compressed": 1},
    "crc": {"crc32": 1},
    "flags": {"flags": 0},
    "encryption": {"flags": 0x0801},
    "data descriptor": {"flags": 0x0808},
    "method": {"method": 8},
    "time": {"time": 1},
    "date": {"date": 0x5A21},
    "version": {"version": 10},
    "signature": {"signature": b"PK\3\5"},
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_local_header_that_mismatches_the_directory(verify, archive, plain, spec, name):
    recipe = archive.part(RECIPE)
    fields = {"path": recipe.path, "size": len(recipe.data), "crc32": 0} | MISMATCHES[name]
    begin = extent(plain, RECIPE)[0]
    original = plain[begin - 30 - len(RECIPE) : begin]
    if "crc32" not in MISMATCHES[name]:
        fields["crc32"] = struct.unpack_from("<I", original, 14)[0]
    changed = spec.local_header(**fields)

    assert outcome(verify, plain.replace(original, changed, 1)) == (4, "", header_of(RECIPE))


CENTRAL = {
    "crc": {"crc32": 1},
    "flags": {"flags": 0},
    "method": {"method": 8},
    "time": {"time": 1},
    "date": {"date": 0x5A21},
    "version": {"version": 10},
    "made by": {"made_by": 20},
    "internal attributes": {"internal": 1},
    "executable": {"external": 0o100755 << 16},
    "symlink": {"external": 0o120777 << 16},
    "disk": {"disk": 1},
    "offset": {"offset": 3},
    "size": {"size": 1},
    "compressed size": {"compressed": 1},
    "name": {"path": b"lftool/recipe.tomb"},
    "a name with a parent": {"path": b"../tool/recipe.tom"},
    "an absolute name": {"path": b"/ftool/recipe.toml"},
    "a name with a backslash": {"path": b"lftool\\recipe.toml"},
}


@pytest.mark.parametrize("name", CENTRAL)
def test_a_central_record_that_mismatches_the_local_header(verify, archive, name):
    archive.part(RECIPE).central = dict(CENTRAL[name])

    assert outcome(verify, archive.written()) == (4, "", NO_CANONICAL_DIRECTORY)


def test_a_stripped_signature(verify, archive):
    archive.parts.remove(archive.signature)

    assert outcome(verify, archive.written()) == (
        5,
        "",
        "error: bad.gguf is unsigned\n  hint: to check only its integrity: --allow-unsigned\n",
    )


def key_id(archive) -> str:
    return json.loads(archive.signature.data)["dsseEnvelope"]["signatures"][0]["keyid"]


def test_another_key(verify, plain, archive):
    assert outcome(verify, plain, key="other.pub") == (
        5,
        "",
        (
            f"error: bad.gguf: signature by key {key_id(archive)}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    )


def rename(signature) -> None:
    signature.path = f"lftool/sig/{hashlib.sha256(signature.data).hexdigest()[:16]}.json".encode()


def test_a_wrong_signature(verify, archive):
    """A signature that is well formed, named by its digest, and made of other bytes."""
    item = archive.signature
    text = json.loads(item.data)["dsseEnvelope"]["signatures"][0]["sig"]
    changed = text[:20] + ("B" if text[20] == "A" else "A") + text[21:]
    item.data = item.data.replace(text.encode(), changed.encode())
    rename(item)

    assert outcome(verify, archive.written()) == (
        5,
        "",
        (
            f"error: bad.gguf: signature by key {key_id(archive)}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    )


def test_the_signature_of_another_bundle(verify, archive, start_archive):
    name = "tiny-1-plain"
    archive.parts.remove(archive.signature)
    archive.parts.append(start_archive.signature)
    here = hashlib.sha256(archive.part(MANIFEST).data).hexdigest()
    there = hashlib.sha256(start_archive.part(MANIFEST).data).hexdigest()

    assert name in archive.part(MANIFEST).data.decode() or here != there
    assert outcome(verify, archive.written()) == (
        5,
        "",
        (
            f"error: bad.gguf: signature by key {key_id(start_archive)}:"
            f" it is about another bundle: it names M {there}, this bundle has {here}\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    )


# --- other structure


def test_an_archive_comment(verify, archive, plain):
    archive.end = {"note": b"hello"}
    assert outcome(verify, archive.written()) == (4, "", NO_END)


def test_an_archive_comment_that_ends_like_an_end_record(verify, archive, spec, plain):
    archive.end = {"note": plain[-22:]}
    assert outcome(verify, archive.written()) == (4, "", NOT_THERE)


def test_a_comment_length_without_a_comment(verify, archive):
    archive.end = {"comment": 1}
    assert outcome(verify, archive.written()) == (4, "", NO_CANONICAL_DIRECTORY)


def test_a_member_comment(verify, archive, plain):
    archive.part(RECIPE).central = {"note": b"hello"}
    assert outcome(verify, archive.written()) == (4, "", FEWER)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ({"count": 1}, MORE),
        ({"count": 99}, FEWER),
        ({"here": 1}, NO_CANONICAL_DIRECTORY),
        ({"disk": 1}, NO_CANONICAL_DIRECTORY),
        ({"directory_disk": 1}, NO_CANONICAL_DIRECTORY),
        ({"size": 1}, NOT_THERE),
        ({"offset": 1}, NOT_THERE),
        ({"wide": True}, NOT_THERE),
    ],
)
def test_an_end_record_that_is_wrong(verify, archive, end, message):
    archive.end = end
    assert outcome(verify, archive.written()) == (4, "", message)


@pytest.mark.parametrize("field", ["count", "size", "offset"])
def test_an_end_record_that_asks_for_zip64_and_has_none(verify, archive, plain, field):
    at, layout = {"count": (-12, "<H"), "size": (-10, "<I"), "offset": (-6, "<I")}[field]
    data = bytearray(plain)
    struct.pack_into(layout, data, len(data) + at, 0xFFFF if field == "count" else 0xFFFFFFFF)
    assert outcome(verify, bytes(data)) == (
        4,
        "",
        "error: bad.gguf: not a bundle: no ZIP64 end record where the end record asks for one\n",
    )


def test_zip64_records_that_no_value_needs(verify, archive, spec, plain):
    count, size, offset = struct.unpack("<HII", plain[-12:-2])
    ends = bytearray(spec.end_records(count, size, offset, wide=True))
    struct.pack_into("<I", ends, len(ends) - 6, 0xFFFFFFFF)
    data = plain[:-22] + bytes(ends)
    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_gap_that_is_not_zero(verify, start_archive, position):
    gap = bytearray(start_archive.parts[0].gap)
    gap[position] = 1
    start_archive.parts[0].gap = bytes(gap)
    assert outcome(verify, start_archive.written()) == (4, "", header_of("model.gguf"))


def test_a_gap_where_none_belongs(verify, archive, plain):
    archive.parts[2].gap = bytes(64)
    data = archive.written()
    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_weights_that_are_not_aligned(verify, start_archive, start):
    start_archive.parts[0].gap = start_archive.parts[0].gap[:-1]
    data = start_archive.written()
    assert outcome(verify, data) == (4, "", size_message(len(data), len(start)))


def test_bytes_before_the_directory(verify, plain):
    at = plain.index(b"PK\1\2")
    data = plain[:at] + b"hidden" + plain[at:]
    data = data[:-6] + struct.pack("<I", at + 6) + data[-2:]
    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_an_extra_field_in_a_local_header(verify, archive, plain):
    archive.part(RECIPE).local = {"extra": struct.pack("<HHQ", 0x5455, 8, 0)}
    data = archive.written()
    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


@pytest.mark.parametrize(
    "extra",
    [struct.pack("<HHQ", 0x5455, 8, 0), b"\0", struct.pack("<HHQ", 1, 8, 1)],
    ids=["time", "short", "zip64"],
)
def test_an_extra_field_in_the_directory(verify, archive, plain, extra):
    archive.part(RECIPE).central = {"extra": extra}
    data = archive.written()
    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_an_extra_field_of_half_a_number_in_the_directory(verify, archive):
    archive.part(RECIPE).central = {"extra": b"12345"}
    message = "error: bad.gguf: not a bundle: a record's extra field does not fit\n"
    assert outcome(verify, archive.written()) == (4, "", message)


def test_members_out_of_order(verify, archive):
    archive.parts[0], archive.parts[1] = archive.parts[1], archive.parts[0]
    found = outcome(verify, archive.written())
    assert found[:2] == (4, "")
    assert found[2].startswith("error: bad.gguf: not a bundle: the local header of ")


def test_a_directory_out_of_order(verify, archive):
    archive.order = lambda records: [records[1], records[0], *records[2:]]
    assert outcome(verify, archive.written()) == (4, "", NO_CANONICAL_DIRECTORY)


def test_a_member_path_that_is_not_ascii(verify, archive):
    archive.part(RECIPE).central = {"path": "lftool/récipe.tom".encode()}
    assert outcome(verify, archive.written()) == (
        4,
        "",
        "error: bad.gguf: not a bundle: a member path is not ASCII\n",
    )


def test_a_member_that_the_manifest_does_not_name(verify, archive, part, plain):
    archive.parts.insert(0, part(path=b"LICENSE", data=b"mine"))
    data = archive.written()
    assert outcome(verify, data) == (4, "", size_message(len(data), len(plain)))


def test_a_member_behind_the_manifest(verify, archive, part):
    archive.parts.append(part(path=b"LICENSE", data=b"mine"))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: not a bundle: it has no {MANIFEST} where one must be\n",
    )


def test_a_signature_in_the_middle(verify, archive):
    signature = archive.signature
    archive.parts.remove(signature)
    archive.parts.insert(0, signature)
    assert outcome(verify, archive.written()) == (
        4,
        "",
        "error: bad.gguf: not a bundle: signatures must be the last members, at most 64\n",
    )


def test_no_manifest(verify, archive):
    archive.parts.remove(archive.part(MANIFEST))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: not a bundle: it has no {MANIFEST} where one must be\n",
    )


def test_an_empty_archive(verify, archive):
    archive.parts.clear()
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: not a bundle: it has no {MANIFEST} where one must be\n",
    )


# --- offsets and sizes that lie


def test_a_manifest_size_beyond_the_end_of_the_file(verify, archive, plain):
    archive.part(MANIFEST).central = {"size": 1_000_000}
    data = archive.written()
    assert outcome(verify, data) == (
        4,
        "",
        f"error: bad.gguf: ends unexpectedly at byte {len(data)}\n",
    )


@pytest.mark.parametrize("offset", [0xFFFFFFFE, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_manifest_offset_beyond_the_end_of_the_file(verify, archive, offset):
    archive.part(MANIFEST).central = {"offset": offset}
    found = verify(archive.written())
    assert (found.status, found.out) == (4, "")
    assert "internal" not in found.err


@pytest.mark.parametrize("offset", [2**32, 2**63, 2**64 - 1])
def test_a_signature_offset_beyond_the_end_of_the_file(verify, archive, offset):
    archive.signature.central = {"offset": offset}
    found = verify(archive.written())
    assert (found.status, found.out) == (4, "")
    assert "internal" not in found.err


# --- budgets


def test_a_manifest_over_its_budget(verify, archive):
    archive.part(MANIFEST).central = {"size": 16 * 1024 * 1024 + 1}
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: not a bundle: {MANIFEST} has 16777217 bytes, at most 16777216 are allowed\n",
    )


def test_a_signature_over_its_budget(verify, archive):
    archive.signature.central = {"size": 64 * 1024 + 1}
    path = archive.signature.path.decode()
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: not a bundle: {path} has 65537 bytes, at most 65536 are allowed\n",
    )


def test_too_many_signatures(verify, archive, part):
    archive.parts.remove(archive.signature)
    archive.parts += [part(path=f"lftool/sig/{index:016x}.json".encode(), data=b"") for index in range(65)]
    assert outcome(verify, archive.written()) == (
        4,
        "",
        "error: bad.gguf: not a bundle: signatures must be the last members, at most 64\n",
    )


def test_too_many_members(verify, archive, part, spec):
    archive.parts = [part(path=b"a", data=b"")] * 16_385
    assert outcome(verify, archive.written()) == (
        4,
        "",
        (
            f"error: bad.gguf: not a bundle: a directory of {16_385 * 47} bytes and 16385 members,"
            " at most 16777216 and 16384 are allowed\n"
        ),
    )


def test_a_directory_over_its_budget(verify, spec):
    size = 16 * 1024 * 1024 + 1
    assert outcome(verify, bytes(size) + spec.end_records(1, size, 0)) == (
        4,
        "",
        (
            f"error: bad.gguf: not a bundle: a directory of {size} bytes and 1 members,"
            " at most 16777216 and 16384 are allowed\n"
        ),
    )


def test_a_small_member_over_its_budget(verify, archive):
    size = 64 * 1024 * 1024 + 1
    archive.manifest(lambda value: value["members"][0].update(size=size))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: not a bundle: {RECIPE} has {size} bytes, at most 67108864 are allowed for its role\n",
    )


# --- the manifest


def spelled(change: Callable[[dict], str]) -> Callable:
    """Write the manifest as `change` spells it."""

    def apply(archive) -> None:
        part = archive.part(MANIFEST)
        part.data = change(json.loads(part.data)).encode()

    return apply


def compact(value: object, **options) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, **options)


SPELLINGS = {
    "white space": spelled(lambda value: json.dumps(value, sort_keys=True)),
    "final newline": spelled(lambda value: compact(value, sort_keys=True) + "\n"),
    "unsorted keys": spelled(lambda value: compact(dict(sorted(value.items(), reverse=True)))),
    "escapes": spelled(lambda value: compact(value, sort_keys=True).replace("tiny", "t\\u0069ny")),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_manifest_in_another_spelling(verify, archive, name):
    SPELLINGS[name](archive)
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: JSON is not in its canonical encoding\n",
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"rules":1', '"rules":1,"rules":1', "duplicate key"),
        ('"rules":1', '"rules":1.0', "number 1.0 is not an integer"),
        ('"rules":1', '"rules":NaN', "number NaN is not an integer"),
        ('"rules":1', '"rules":9007199254740992', "integer 9007199254740992 is not below 2**53"),
    ],
)
def test_a_manifest_with_json_that_we_never_write(verify, archive, old, new, why):
    part = archive.part(MANIFEST)
    part.data = part.data.replace(old.encode(), new.encode())
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: not canonical JSON: {why}\n",
    )


def test_a_manifest_with_future_rules(verify, archive):
    archive.manifest(lambda value: value.update(rules=2))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: rules 2, this lftool knows 1\n  hint: use a newer lftool\n",
    )


def test_a_manifest_with_an_unknown_key(verify, archive):
    archive.manifest(lambda value: value.update(nmae="x"))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: $.nmae: unknown key; did you mean 'name'?\n",
    )


def test_a_manifest_that_spells_a_default(verify, archive):
    archive.manifest(lambda value: value.update(run={}))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: not the canonical encoding of its values\n",
    )


NOT_PORTABLE = "is not a portable path: each part is letters, digits and . _ + = -, not starting or ending with a dot"
DEVICE = "has a part that is a device name on Windows"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        *((path, NOT_PORTABLE) for path in ("../evil", "/evil", "a/../evil", "./evil", "a//b", "a/", "", "evil.")),
        *((path, NOT_PORTABLE) for path in ("évil", "a\\b", "C:evil", "a b", ".ssh/evil", "evil\n")),
        *((path, DEVICE) for path in ("con", "a/NUL.txt", "com1.gguf/x")),
    ],
)
def test_a_manifest_with_a_path_that_leads_elsewhere(verify, archive, path, why):
    archive.manifest(lambda value: value["members"][0].update(path=path))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: $.members[0].path: {path!r} {why}\n",
    )


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "évil"])
def test_a_member_with_such_a_path_in_manifest_headers_and_directory(verify, archive, path):
    archive.part(RECIPE).path = path.encode()
    archive.manifest(lambda value: value["members"][0].update(path=path))
    found = verify(archive.written())
    assert (found.status, found.out) == (4, "")


def test_a_manifest_that_names_members_differing_in_case(verify, archive, part):
    twin = {"role": "license", "size": 0, "sha256": hashlib.sha256(b"").hexdigest(), "crc32": "00000000"}
    archive.manifest(
        lambda value: value.update(members=[{"path": "A", **twin}, {"path": "a", **twin}, *value["members"]])
    )
    archive.parts = [part(path=b"A", data=b""), part(path=b"a", data=b""), *archive.parts]
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: $: two members have paths that differ in case only, or not at all\n",
    )


@pytest.mark.parametrize("key", ["sha256", "crc32", "size"])
def test_a_manifest_that_leaves_a_fact_out(verify, archive, key):
    archive.manifest(lambda value: value["members"][0].pop(key))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {MANIFEST}: $.members[0].{key}: missing\n",
    )


def test_a_manifest_with_a_wrong_digest_of_a_member(verify, archive):
    archive.manifest(lambda value: value["members"][0].update(sha256="0" * 64))
    assert outcome(verify, archive.written()) == (
        4,
        "",
        f"error: bad.gguf: {RECIPE} is not what the manifest names\n",
    )


def unsigned(archive) -> bytes:
    archive.parts.remove(archive.signature)
    return archive.written()


def test_a_manifest_with_a_wrong_digest_of_the_weights(verify, archive):
    """Without `--full` the chunk table vouches for the prefix, and M for the chunk table."""
    archive.manifest(lambda value: value["prefix"].update(sha256="0" * 64))
    size = len(archive.prefix)
    found = hashlib.sha256(archive.prefix).hexdigest()
    assert outcome(verify, unsigned(archive), "--full", "--allow-unsigned") == (
        4,
        "",
        f"error: bad.gguf: the prefix: expected sha256 {'0' * 64} ({size} bytes), got {found} ({size} bytes)\n",
    )


def test_a_manifest_with_a_wrong_crc_of_the_weights(verify, archive):
    before = json.loads(archive.part(MANIFEST).data)["prefix"]["crc32"]
    archive.manifest(lambda value: value["prefix"].update(crc32="00000000"))
    assert outcome(verify, unsigned(archive), "--full", "--allow-unsigned") == (
        4,
        "",
        f"error: bad.gguf: the prefix: expected CRC-32 00000000, got {before}\n",
    )


def test_a_chunk_table_that_is_too_short(verify, archive):
    archive.part("lftool/chunks").data = b""
    archive.describe("lftool/chunks")
    assert outcome(verify, unsigned(archive), "--allow-unsigned") == (
        4,
        "",
        "error: bad.gguf: lftool/chunks has 0 bytes, which is not 32 for every chunk\n",
    )


def test_a_chunk_table_that_is_too_long(verify, archive):
    archive.part("lftool/chunks").data += bytes(32)
    archive.describe("lftool/chunks")
    assert outcome(verify, unsigned(archive), "--allow-unsigned") == (
        4,
        "",
        "error: bad.gguf: lftool/chunks has 64 bytes, which is not 32 for every chunk\n",
    )


# --- the weights


@pytest.mark.parametrize("hidden", [b"\0" * 32, b"hidden", b"\0"])
def test_bytes_between_the_tensors_and_the_archive(verify, archive, hidden):
    archive.prefix += hidden
    archive.describe_prefix()
    data = unsigned(archive)
    assert outcome(verify, data, "--allow-unsigned") == (
        4,
        "",
        f"error: bad.gguf: weights: not a sound GGUF: {len(hidden)} bytes follow the last tensor\n",
    )


def test_bytes_behind_the_tensors_of_a_member(verify, start_archive):
    weights = start_archive.part("model.gguf")
    weights.data += b"hidden"
    start_archive.describe("model.gguf")
    chunks = start_archive.part("lftool/chunks")
    chunks.data = chunks.data[:32] + hashlib.sha256(weights.data).digest()
    start_archive.describe("lftool/chunks")
    assert outcome(verify, unsigned(start_archive), "--allow-unsigned") == (
        4,
        "",
        "error: bad.gguf: weights: not a sound GGUF: 6 bytes follow the last tensor\n",
    )


def test_a_prefix_that_is_no_gguf(verify, archive):
    archive.prefix = b"#!/bin/sh\n"
    archive.describe_prefix()
    assert outcome(verify, unsigned(archive), "--allow-unsigned") == (
        4,
        "",
        "error: bad.gguf: weights: not a sound GGUF: it starts with b'#!/b', not b'GGUF'\n",
    )


# --- things that are no bundles


def test_a_folder_is_not_a_bundle(release, tmp_path):
    found = release.run("verify", tmp_path, "--key", release.root / "release.pub")
    assert (found.status, found.out) == (2, "")
    assert found.err == f"error: there is no bundle in {tmp_path}\n  hint: build some: lftool build\n"


def test_a_folder_stands_for_its_bundles(release, tmp_path):
    found = release.run("verify", release.root / "dist", "--key", release.root / "release.pub").assert_success()
    names = sorted(path.name for path in (release.root / "dist").iterdir() if not path.name.endswith(".json"))
    assert [line.partition(":")[0] for line in found.out.splitlines() if "every byte" in line] == names
    assert names


def test_a_file_that_is_not_there(release, tmp_path):
    found = release.run("verify", tmp_path / "no.gguf", "--key", release.root / "release.pub")
    message = f"error: cannot open {tmp_path / 'no.gguf'}: No such file or directory\n"
    assert (found.status, found.out, found.err) == (1, "", message)
