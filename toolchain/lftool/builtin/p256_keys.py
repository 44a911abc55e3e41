"""P-256 keys: deterministic ECDSA (RFC 6979) with low s, and one accepted encoding for every signature."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from lftool.api import P256, RecipeError, StorageError, TrustError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from lftool.api import SignerContext

# Order of the P-256 group, FIPS 186-5 / SEC 2 §2.4.2.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


_MOST_BYTES = 64 * 1024
_ELSEWHERE = "to use a key outside the project: --sign-key PATH, or [sign] key in your config.toml"


def _low_s(signature: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )

    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _ORDER - s))


def _public_pem(key: ec.EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _load_private(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{what} holds no unencrypted PEM private key", hints=("make one with `lftool keygen -o PREFIX`",)
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise TrustError(f"{what} is not a P-256 key", hints=("make one with `lftool keygen -o PREFIX`",))
    return key


class KeySigner:
    """Signs with a key in a file of the project or a root (`file:PATH`), or in an environment variable (`env:NAME`)."""

    scheme = P256

    def __init__(self, context: SignerContext) -> None:
        self._reference = f"{context.scheme}:{context.rest}"
        if context.scheme == "env":
            text = os.environ.get(context.rest)
            if not text:
                raise TrustError(
                    f"the variable {context.rest} that [sign] key names is not set",
                    hints=(f"set {context.rest} to the text of the private key, or build with --no-sign",),
                )
            pem = text.encode()
        else:
            hints = ("make one with `lftool keygen -o PREFIX`, or build with --no-sign", _ELSEWHERE)
            try:
                pem = context.files.read(context.rest, f"the signing key {context.rest}", _MOST_BYTES)
            except RecipeError as error:
                raise RecipeError(error.message, hints=(_ELSEWHERE, *error.hints)) from error
            except StorageError as error:
                raise TrustError(f"cannot read {error.message}", hints=hints) from error
        self._key = _load_private(pem, f"the key {self._reference}")

    def public_key(self) -> str:
        """Return the public key, PEM."""
        return _public_pem(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return the DER signature with low s; the same bytes every time (RFC 6979)."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return _low_s(self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))


class P256Verifier:
    """Verifies signatures in the encoding of `KeySigner`, and rejects equivalent encodings."""

    def _load(self, public_key: str) -> ec.EllipticCurvePublicKey:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            key = serialization.load_pem_public_key(public_key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            hint = "`lftool keygen` writes one as PREFIX.pub"
            if "PRIVATE KEY" in public_key:
                raise TrustError("a private key, expected the public key", hints=(hint,)) from None
            raise TrustError("not a supported PEM public key", hints=(hint,)) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise TrustError(
                "not a P-256 public key",
                hints=("a key of another scheme needs a trust policy that names the plugin: lftool help trust-policy",),
            )
        return key

    def key_id(self, public_key: str) -> str:
        """Return sha256 of the DER SubjectPublicKeyInfo, hex."""
        from cryptography.hazmat.primitives import serialization

        key = self._load(public_key)
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def verify(self, data: bytes, signature: bytes, public_key: str) -> bool:
        """Return whether `signature` is valid, strict DER and low s."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = self._load(public_key)
        try:
            if _low_s(signature) != signature:
                return False
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True
