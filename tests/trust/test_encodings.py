"""Envelope and statement have one encoding each; whatever else means the same is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.errors import FormatError, LftoolError
from lftool.models.digest import Digest
from lftool.trust.envelope import (
    PAYLOAD_TYPE,
    Envelope,
    decode_envelope,
    encode_envelope,
    pre_authentication_encoding,
)
from lftool.trust.statement import Statement, decode_statement, encode_statement

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
ID = "ab" * 32
NOT_ENVELOPE = "signature member: not a Sigstore bundle v0.3 with one DSSE signature"
NOT_ONE = "signature member: not the one accepted encoding of its values"
NOT_CANONICAL = "signature member: JSON is not in its canonical encoding"


def vector_statement() -> Statement:
    vector = VECTORS["statement"]
    return Statement(
        bundle=vector["bundle"],
        manifest=Digest(vector["manifest"]),
        unsigned=Digest(vector["unsigned"]),
        predicate=vector["predicate"],
    )


# --- vectors, and the same from json, base64 and hashlib


@pytest.mark.parametrize("vector", VECTORS["pae"])
def test_pre_authentication_encoding(vector):
    assert pre_authentication_encoding(vector["type"], vector["body"].encode()).decode() == vector["pae"]


def test_the_statement_of_the_vector():
    assert encode_statement(vector_statement()).decode() == VECTORS["statement"]["payload"]
    assert decode_statement(VECTORS["statement"]["payload"].encode(), "x") == vector_statement()


def test_the_signature_member_of_the_vector(release_key, sign):
    """Key of RFC 6979 A.2.5; deterministic, so the whole member is."""
    member = sign(vector_statement(), release_key)

    assert member.decode() == VECTORS["envelope"]["member"]
    assert sign(vector_statement(), release_key) == member
    assert hashlib.sha256(member).hexdigest() == VECTORS["envelope"]["sha256"]


def test_a_statement_says_what_in_toto_and_slsa_say(statement):
    assert json.loads(encode_statement(statement)) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "lftool/bundle.json", "digest": {"sha256": statement.manifest.hex}},
            {"name": "tiny-1-plain", "digest": {"sha256": statement.unsigned.hex}},
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": statement.predicate,
    }


def test_a_signature_member_is_a_sigstore_bundle(signature, statement, release_key):
    value = json.loads(signature)
    sig = value["dsseEnvelope"]["signatures"][0].pop("sig")

    assert value == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": release_key.id}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(encode_statement(statement)).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"keyid": release_key.id}],
        },
    }
    payload = encode_statement(statement)
    head = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload)
    assert base64.b64decode(sig) == release_key.signer.sign(head + payload)


def test_the_canonical_form_is_that_of_json_with_sorted_keys(signature):
    assert json.dumps(json.loads(signature), sort_keys=True, separators=(",", ":")).encode() == signature


# --- round trips


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=80))
def test_what_is_encoded_is_decoded(payload, raw):
    envelope = Envelope(payload=payload, key_id=ID, signature=raw)
    assert decode_envelope(encode_envelope(envelope), "x") == envelope


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_member_says_something_else_or_is_refused(signature, data):
    changed = bytearray(signature)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    status, again = 4, bytes(changed)
    try:
        again = encode_envelope(decode_envelope(bytes(changed), "x"))
    except LftoolError as error:
        status = error.exit_status
    assert (status, again) == (4, bytes(changed))


# --- one accepted encoding of an envelope


def refusal(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        decode_envelope(data, "signature member")
    return caught.value.message


def compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_member_as_it_is_is_accepted(signature):
    """Else the refusals below would show nothing."""
    assert compact(json.loads(signature)) == signature
    assert encode_envelope(decode_envelope(signature, "x")) == signature


@pytest.mark.parametrize(
    "spell",
    [
        lambda value: json.dumps(value).encode(),
        lambda value: json.dumps(value, sort_keys=True).encode(),
        lambda value: compact(value) + b"\n",
        lambda value: b" " + compact(value),
        lambda value: compact(value).replace(b"/", b"\\/", 1),
        lambda value: compact(value).replace(b"hint", b"h\\u0069nt"),
    ],
    ids=["spaces, unsorted", "spaces", "final newline", "leading space", "escaped slash", "escaped letter"],
)
def test_another_spelling_of_the_json(signature, spell):
    assert refusal(spell(json.loads(signature))) == NOT_CANONICAL


def test_a_byte_order_mark(signature):
    assert refusal(b"\xef\xbb\xbf" + signature).startswith("signature member: not canonical JSON: ")


def test_a_key_twice(signature):
    twice = signature.replace(b'"tlogEntries":[]', b'"tlogEntries":[],"tlogEntries":[]')
    assert refusal(twice) == "signature member: not canonical JSON: duplicate key"


def in_dsse(value) -> dict:
    return value["dsseEnvelope"]


def in_signature(value) -> dict:
    return value["dsseEnvelope"]["signatures"][0]


CHANGES = {
    "extra key": lambda value: value.update(extra=1),
    "extra key in the envelope": lambda value: in_dsse(value).update(extra=1),
    "extra key in the signature": lambda value: in_signature(value).update(cert="x"),
    "extra verification material": lambda value: value["verificationMaterial"].update(certificate={}),
    "timestamps": lambda value: value["verificationMaterial"].update(timestampVerificationData={}),
    "a log entry": lambda value: value["verificationMaterial"]["tlogEntries"].append({}),
    "another media type": lambda value: value.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.3"),
    "another payload type": lambda value: in_dsse(value).update(payloadType="text/plain"),
    "two signatures": lambda value: in_dsse(value)["signatures"].append(in_signature(value)),
    "two key ids": lambda value: in_signature(value).update(keyid="cd" * 32),
}


@pytest.mark.parametrize("name", CHANGES)
def test_something_more_or_something_else(signature, name):
    value = json.loads(signature)
    CHANGES[name](value)
    assert refusal(compact(value)) == NOT_ONE


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        1,
        "x",
        {"dsseEnvelope": []},
        {"dsseEnvelope": {"payload": 1}},
        {"dsseEnvelope": {"signatures": []}},
    ],
)
def test_json_that_is_no_envelope(value):
    assert refusal(compact(value)) == NOT_ENVELOPE


@pytest.mark.parametrize("missing", ["payload", "signatures"])
def test_an_envelope_with_something_missing(signature, missing):
    value = json.loads(signature)
    del in_dsse(value)[missing]
    assert refusal(compact(value)) == NOT_ENVELOPE


def base64_variants(text: str) -> dict[str, str]:
    """Other spellings of the same bytes."""
    return {
        "no padding": text.rstrip("="),
        "more padding": text + "=",
        "white space": text[:4] + " " + text[4:],
        "newline": text + "\n",
        "url alphabet": text.replace("+", "-").replace("/", "_"),
        "trailing bits": text[:-2] + chr(ord(text[-2]) + 1) + "=",
        "not ASCII": "é" + text,
    }


@pytest.mark.parametrize("name", base64_variants("QUI="))
def test_another_spelling_of_the_base64(name):
    raw = bytes.fromhex("fbefbe") * 10 + b"AB"
    value = json.loads(encode_envelope(Envelope(payload=raw, key_id=ID, signature=raw)))
    text = in_dsse(value)["payload"]
    changed = base64_variants(text)[name]

    assert changed != text
    in_dsse(value)["payload"] = changed
    assert refusal(compact(value)) in {NOT_ENVELOPE, NOT_ONE}
    in_dsse(value)["payload"] = text
    in_signature(value)["sig"] = changed
    assert refusal(compact(value)) in {NOT_ENVELOPE, NOT_ONE}


@pytest.mark.parametrize(
    "key_id", ["", "x", "AB" * 32, "ab" * 31, "ab" * 33, "\x1b[2J" + "ab" * 30, "\n", 5, None, ["ab"]]
)
def test_a_key_id_is_64_lower_case_hex_digits(signature, key_id):
    """docs/reference/bundle-format.md, Signatures; it is shown on terminals before anybody has proven it."""
    value = json.loads(signature)
    value["verificationMaterial"]["publicKey"]["hint"] = key_id
    in_signature(value)["keyid"] = key_id
    assert refusal(compact(value)) in {NOT_ENVELOPE, NOT_ONE}


# --- one accepted encoding of a statement


def statement_refusal(payload: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        decode_statement(payload, "signed statement")
    return caught.value.message


STATEMENT_CHANGES = {
    "extra key": lambda value: value.update(extra=1),
    "another statement type": lambda value: value.update(_type="https://in-toto.io/Statement/v0.1"),
    "another predicate type": lambda value: value.update(predicateType="https://slsa.dev/provenance/v0.2"),
    "a third subject": lambda value: value["subject"].append(value["subject"][0]),
    "subjects the other way round": lambda value: value["subject"].reverse(),
    "another digest besides": lambda value: value["subject"][0]["digest"].update(sha512="00"),
    "annotations": lambda value: value["subject"][0].update(annotations={}),
}


@pytest.mark.parametrize("name", STATEMENT_CHANGES)
def test_a_statement_with_something_else(statement, name):
    value = json.loads(encode_statement(statement))
    STATEMENT_CHANGES[name](value)
    message = "signed statement: not the one accepted encoding of a provenance statement"
    assert statement_refusal(compact(value)) == message


@pytest.mark.parametrize(
    "value",
    [{}, [], {"subject": []}, {"subject": [{"digest": {"sha256": "00"}}]}, {"subject": "ab"}, {"subject": [1, 2]}],
)
def test_json_that_is_no_statement(value):
    assert statement_refusal(compact(value)) == "signed statement: not a provenance statement about a bundle"


@pytest.mark.parametrize("digest", ["", "00", "AB" * 32, 5, None])
def test_a_statement_with_a_malformed_digest(statement, digest):
    value = json.loads(encode_statement(statement))
    value["subject"][1]["digest"]["sha256"] = digest
    assert statement_refusal(compact(value)) == "signed statement: not a provenance statement about a bundle"


def test_a_float_has_no_encoding(statement):
    with pytest.raises(ValueError, match=r"^float has no canonical form$"):
        encode_statement(attrs.evolve(statement, predicate={"x": 1.5}))


def test_the_payload_type_is_that_of_in_toto():
    assert PAYLOAD_TYPE == "application/vnd.in-toto+json"
