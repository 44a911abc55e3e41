"""The signer `ed25519:PATH` and the signature scheme `ed25519` (RFC 8032): the same data has one signature."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lftool.api import TrustError

if TYPE_CHECKING:
    from lftool.api import SignerContext

_MOST_BYTES = 16 * 1024


class Ed25519Signer:
    """A key in a file of the project, or of a root of the user's."""

    scheme = "ed25519"

    def __init__(self, context: SignerContext) -> None:
        what = f"the key {context.rest}"
        try:
            key = load_pem_private_key(context.files.read(context.rest, what, _MOST_BYTES), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise TrustError(f"{what} is no unencrypted PEM private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise TrustError(f"{what} is no Ed25519 key", hints=("openssl genpkey -algorithm ed25519",))
        self._key = key

    def public_key(self) -> str:
        """Return it, PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, data: bytes) -> bytes:
        """Return the signature."""
        return self._key.sign(data)


class Ed25519Verifier:
    """Checks signatures."""

    def _load(self, public_key: str) -> Ed25519PublicKey:
        try:
            key = load_pem_public_key(public_key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise TrustError("no PEM public key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise TrustError("no Ed25519 public key")
        return key

    def key_id(self, public_key: str) -> str:
        """Return sha256 of the DER SubjectPublicKeyInfo."""
        der = self._load(public_key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def verify(self, data: bytes, signature: bytes, public_key: str) -> bool:
        """Tell whether a signature is valid."""
        try:
            self._load(public_key).verify(signature, data)
        except InvalidSignature:
            return False
        return True
