"""P-256 keys: deterministic, low s, one DER encoding, and nothing that merely means the same."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.builtin.p256_keys import P256Verifier
from lftool.errors import TrustError
from lftool.trust.key_pairs import generate_key_pair

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
DATA = b"sample"
# RFC 6979, A.2.5, SHA-256: message to (r, s)
RFC_6979 = {
    b"sample": (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    b"test": (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}


@pytest.mark.parametrize("message", RFC_6979)
def test_a_signature_is_the_one_of_rfc_6979_with_low_s(release_key, message):
    r, s = RFC_6979[message]
    assert decode_dss_signature(release_key.signer.sign(message)) == (r, min(s, ORDER - s))


def test_the_same_bytes_are_signed_alike_every_time(release_key):
    assert len({release_key.signer.sign(DATA) for _ in range(20)}) == 1


def test_a_key_id_is_the_sha256_of_the_der_public_key(release_key):
    key = serialization.load_pem_public_key(release_key.public.encode())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert release_key.id == hashlib.sha256(der).hexdigest()


def test_a_good_signature_is_accepted(release_key):
    assert P256Verifier().verify(DATA, release_key.signer.sign(DATA), release_key.public) is True


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_is_signed_verifies_and_nothing_else_does(release_key, data):
    signature = release_key.signer.sign(data)
    assert P256Verifier().verify(data, signature, release_key.public)
    assert not P256Verifier().verify(data + b"\0", signature, release_key.public)


def der(r: int, s: int) -> bytes:
    """DER with whatever integers, negative ones too."""

    def integer(value: int) -> bytes:
        body = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        return b"\2" + bytes([len(body)]) + body

    body = integer(r) + integer(s)
    return b"\x30" + bytes([len(body)]) + body


def variants(signature: bytes) -> dict[str, bytes]:
    """Signatures that some verifiers take for `signature`, and none may."""
    r, s = decode_dss_signature(signature)
    body = signature[2:]
    second = 2 + signature[3]
    return {
        "high s": encode_dss_signature(r, ORDER - s),
        "long form length": b"\x30\x81" + bytes([len(body)]) + body,
        "indefinite length": b"\x30\x80" + body + b"\0\0",
        "padded r": b"\x30" + bytes([len(body) + 1]) + b"\2" + bytes([body[1] + 1]) + b"\0" + body[2:],
        "padded s": b"\x30"
        + bytes([len(body) + 1])
        + body[:second]
        + b"\2"
        + bytes([body[second + 1] + 1])
        + b"\0"
        + body[second + 2 :],
        "trailing byte": signature + b"\0",
        "trailing byte inside": b"\x30" + bytes([len(body) + 1]) + body + b"\0",
        "cut": signature[:-1],
        "empty": b"",
        "raw r and s": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "r + n": der(r + ORDER, s),
        "s + n": der(r, s + ORDER),
        "negative s": der(r, s - ORDER),
        "zero": der(0, 0),
        "r zero": der(0, s),
        "s zero": der(r, 0),
        "r is n": der(ORDER, s),
        "one more": der(r, s + 1),
    }


@pytest.mark.parametrize("name", variants(der(2**255 + 1, 2**250 + 1)))
def test_only_one_encoding_is_accepted(release_key, name):
    changed = variants(release_key.signer.sign(DATA))[name]
    assert P256Verifier().verify(DATA, changed, release_key.public) is False


def test_the_high_s_variant_is_valid_for_others(release_key):
    """Else the test above would show nothing."""
    key = serialization.load_pem_public_key(release_key.public.encode())
    key.verify(variants(release_key.signer.sign(DATA))["high s"], DATA, ec.ECDSA(hashes.SHA256()))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_make_the_verifier_fail(release_key, signature):
    assert P256Verifier().verify(DATA, signature, release_key.public) is False


def test_another_key_does_not_verify(release_key, other_key):
    assert P256Verifier().verify(DATA, release_key.signer.sign(DATA), other_key.public) is False


def pem(key) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_garbage_is_not_a_public_key():
    with pytest.raises(TrustError, match=r"^not a supported PEM public key$") as caught:
        P256Verifier().key_id("-----BEGIN PUBLIC KEY-----\ngarbage\n-----END PUBLIC KEY-----\n")
    assert caught.value.hints == ("`lftool keygen` writes one as PREFIX.pub",)


def test_a_private_key_is_not_a_public_key(release_key):
    with pytest.raises(TrustError, match=r"^a private key, expected the public key$"):
        P256Verifier().key_id(release_key.private.decode())


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1()])
def test_a_key_of_another_curve_is_refused(curve):
    with pytest.raises(TrustError, match=r"^not a P-256 public key$"):
        P256Verifier().key_id(pem(ec.generate_private_key(curve)))


def test_an_rsa_key_is_refused():
    with pytest.raises(TrustError, match=r"^not a P-256 public key$"):
        P256Verifier().key_id(pem(rsa.generate_private_key(65537, 2048)))


def test_generated_keys_are_p256_and_differ():
    (first, public), (second, _) = generate_key_pair(), generate_key_pair()
    key = serialization.load_pem_private_key(first, None)

    assert first != second
    assert (key.curve.name, pem(key).encode()) == ("secp256r1", public)
