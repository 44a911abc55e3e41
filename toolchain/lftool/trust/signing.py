"""Make a signature member from a statement. The same statement and key give the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool.errors import TrustError
from lftool.trust.envelope import PAYLOAD_TYPE, Envelope, encode_envelope, pre_authentication_encoding
from lftool.trust.statement import Statement, encode_statement

if TYPE_CHECKING:
    from lftool.api import Signer, Verifier


def sign_payload(payload: bytes, signer: Signer, verifier: Verifier) -> bytes:
    """Return an envelope of an in-toto statement.

    Raises:
        TrustError: The new signature does not verify.
    """
    data = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    public_key = signer.public_key()
    signature = signer.sign(data)
    if not verifier.verify(data, signature, public_key):
        raise TrustError("the signer made a signature that its own public key does not verify")
    return encode_envelope(Envelope(payload=payload, key_id=verifier.key_id(public_key), signature=signature))


def sign_statement(statement: Statement, signer: Signer, verifier: Verifier) -> bytes:
    """Return a signature member.

    Raises:
        TrustError: The new signature does not verify.
    """
    return sign_payload(encode_statement(statement), signer, verifier)
