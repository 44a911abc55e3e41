"""A signature member: a Sigstore bundle v0.3 that holds one DSSE envelope, in one accepted encoding.

Sources: DSSE v1 (protocol.md, PAE), sigstore protobuf-specs `sigstore_bundle.proto` (v0.3: `publicKey.hint`, exactly one
signature). With several accepted encodings, a byte in the signature could change unnoticed.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from attrs import frozen

from lftool.codec.canonical import canonical_json, parse_canonical_json
from lftool.errors import FormatError
from lftool.models.digest import Digest

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@frozen(kw_only=True)
class Envelope:
    """The content of a signature member: the signed bytes, a key id that is only a hint, and the raw signature."""

    payload: bytes
    key_id: str
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that are signed (DSSE's pre-authentication encoding)."""
        return pre_authentication_encoding(PAYLOAD_TYPE, self.payload)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return PAE(type, body) of DSSE v1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the bytes of a signature member."""
    return canonical_json(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": envelope.key_id}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(envelope.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": envelope.key_id, "sig": base64.b64encode(envelope.signature).decode()}],
            },
        }
    )


def decode_envelope(data: bytes, what: str) -> Envelope:
    """Return the content of a signature member.

    Raises:
        FormatError: The bytes are not in the one accepted encoding.
    """
    value: Any = parse_canonical_json(data, what)
    try:
        dsse = value["dsseEnvelope"]
        envelope = Envelope(
            payload=base64.b64decode(dsse["payload"]),  # it skips what is no base64: compared below
            key_id=Digest(value["verificationMaterial"]["publicKey"]["hint"]).hex,
            signature=base64.b64decode(dsse["signatures"][0]["sig"]),
        )
        canonical = encode_envelope(envelope)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, binascii.Error):
        raise FormatError(f"{what}: not a Sigstore bundle v0.3 with one DSSE signature") from None
    if canonical != data:
        raise FormatError(f"{what}: not the one accepted encoding of its values")
    return envelope
