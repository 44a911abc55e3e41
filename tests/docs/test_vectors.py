"""Every vector of the bundle format is what the code computes, and stands in the page as well."""

import hashlib
import json
import zlib
from pathlib import Path

import pytest

from lftool.bundle.reader import signature_path
from lftool.bundle.structure import Entry, arrange, local_header
from lftool.codec.canonical import canonical_json
from lftool.codec.manifests import emit_manifest, parse_manifest
from lftool.models.reals import canonical_real
from lftool.trust.envelope import PAYLOAD_TYPE, pre_authentication_encoding

REFERENCE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference"
VECTORS = json.loads((REFERENCE / "vectors.json").read_text())
PAGE = (REFERENCE / "bundle-format.md").read_text()

END_SIZE, END64_SIZE, LOCATOR_SIZE = 22, 56, 20


def entry_of(vector: dict) -> Entry:
    return Entry(path=vector["path"], size=vector["size"], crc32=int(vector["crc32"], 16), aligned=False)


def test_member_content():
    vector = VECTORS["member"]
    data = vector["content"].encode()
    assert (len(data), f"{zlib.crc32(data):08x}") == (vector["size"], vector["crc32"])


@pytest.mark.parametrize("name", ["member", "zip64_member"])
def test_headers(name):
    vector = VECTORS[name]
    header = local_header(entry_of(vector))
    assert header.hex() == vector["local_header"]
    directory = arrange(vector["header_offset"], [entry_of(vector)]).directory
    record = bytes.fromhex(vector["central_record"])
    assert directory.startswith(record)
    assert directory[len(record) :].hex() == vector["end_records"]
    wide = name == "zip64_member"
    assert len(bytes.fromhex(vector["end_records"])) == END_SIZE + wide * (END64_SIZE + LOCATOR_SIZE)


def test_arrangement():
    vector = VECTORS["arrangement"]
    entries = [
        Entry(path=item["path"], size=item["size"], crc32=int(item["crc32"], 16), aligned=item["aligned"])
        for item in vector["members"]
    ]
    made = arrange(vector["prefix_size"], entries)
    for item, placed in zip(vector["members"], made.members, strict=True):
        assert item["gap"] == placed.gap
        assert item["header_offset"] == placed.header_offset
        assert item["data_offset"] == placed.data_offset
    assert vector["directory_offset"] == made.directory_offset
    assert vector["directory_sha256"] == hashlib.sha256(made.directory).hexdigest()
    assert vector["size"] == made.size


@pytest.mark.parametrize(("written", "canonical"), VECTORS["reals"])
def test_canonical_real(written, canonical):
    assert canonical_real(written) == canonical
    assert canonical_real(float(written)) == canonical
    assert f"| `{written}` | `{canonical}` |" in PAGE


@pytest.mark.parametrize("written", VECTORS["refused_reals"])
def test_refused_real(written):
    with pytest.raises(ValueError, match=r"number|range"):
        canonical_real(written)


def test_canonical_json():
    vector = VECTORS["canonical_json"]
    data = canonical_json(vector["value"])
    assert data.decode() == vector["text"]
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]


def test_manifest_and_m():
    vector = VECTORS["manifest"]
    data = vector["text"].encode()
    assert emit_manifest(parse_manifest(data, "vector")) == data
    assert hashlib.sha256(data).hexdigest() == vector["m"]


def test_signature_path_and_pre_authentication_encoding():
    vector = VECTORS["signature"]
    assert signature_path(vector["member"].encode()) == vector["path"]
    assert vector["payload_type"] == PAYLOAD_TYPE
    assert pre_authentication_encoding(PAYLOAD_TYPE, vector["payload"].encode()).hex() == vector["pae"]


def test_page_shows_the_vectors():
    flat = "".join(PAGE.split())
    shown = [
        VECTORS[name][key]
        for name in ("member", "zip64_member")
        for key in ("local_header", "central_record", "end_records")
    ]
    shown += [VECTORS["canonical_json"]["sha256"], VECTORS["manifest"]["m"], VECTORS["signature"]["pae"]]
    shown += [VECTORS["arrangement"]["directory_sha256"]]
    for text in shown:
        assert text in flat
