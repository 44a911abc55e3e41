"""Generate key pairs; signer plugins load and use them."""

from __future__ import annotations


def generate_key_pair() -> tuple[bytes, bytes]:
    """Return a new P-256 key pair: PKCS #8 private key and SubjectPublicKeyInfo public key, PEM, unencrypted."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public
