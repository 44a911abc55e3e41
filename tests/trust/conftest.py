"""A signed bundle, two keys that never change, and ways to sign it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from lftool.api import SignerContext
from lftool.builtin.p256_keys import KeySigner, P256Verifier
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import unsigned_artifact
from lftool.bundle.reader import manifest_entries, signature_path
from lftool.bundle.structure import arrange
from lftool.codec.canonical import parse_canonical_json
from lftool.models.manifest import PROVENANCE_PATH
from lftool.models.policy import TrustedKey, TrustPolicy
from lftool.ops.bundles.trust import claim_of
from lftool.testing import ProjectFolder, tiny_gguf
from lftool.testing.plugin import PLAIN_RECIPE
from lftool.trust.signing import sign_statement
from lftool.trust.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lftool.trust.verification import Claim

RELEASE_SECRET = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721  # RFC 6979, A.2.5
OTHER_SECRET = 2026


@frozen(kw_only=True)
class KeyPair:
    """A key: its signer, its public half, its id."""

    private: bytes
    signer: KeySigner
    public: str
    id: str


def key_pair(folder: Path, secret: int) -> KeyPair:
    """Write the key of a number."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.derive_private_key(secret, ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "test.key").write_bytes(pem)
    signer = KeySigner(SignerContext(project=folder, scheme="file", rest="test.key"))
    public = signer.public_key()
    return KeyPair(private=pem, signer=signer, public=public, id=P256Verifier().key_id(public))


@pytest.fixture(scope="session")
def release_key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The key that signs the bundle."""
    return key_pair(tmp_path_factory.mktemp("release-key"), RELEASE_SECRET)


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """Another key."""
    return key_pair(tmp_path_factory.mktemp("other-key"), OTHER_SECRET)


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory, release_key: KeyPair, other_key: KeyPair) -> ProjectFolder:
    """A project whose bundle is built and signed; never change it."""
    base = tmp_path_factory.mktemp("signed")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    tiny_gguf(made.root / "model.gguf", width=32)
    made.write_recipe(PLAIN_RECIPE + '\n[sign]\nkey = "file:release.key"\n')
    (made.root / "release.key").write_bytes(release_key.private)
    (made.root / "release.pub").write_text(release_key.public)
    (made.root / "other.pub").write_text(other_key.public)
    made.run("lock").assert_success()
    made.run("build").assert_success()
    return made


@pytest.fixture(scope="session")
def bundle(signed: ProjectFolder) -> Path:
    """The signed bundle."""
    return signed.root / "dist" / "tiny-1-plain.gguf"


@pytest.fixture(scope="session")
def claim(bundle: Path) -> Claim:
    """What its signatures must be about."""
    with opened(bundle) as found:
        return claim_of(found)


@pytest.fixture(scope="session")
def statement(bundle: Path) -> Statement:
    """What the bundle's signature says."""
    with opened(bundle) as found:
        return Statement(
            bundle=found.manifest.stem,
            manifest=found.manifest_digest,
            unsigned=unsigned_artifact(found).sha256,
            predicate=parse_canonical_json(found.read_member(PROVENANCE_PATH), "provenance"),
        )


@pytest.fixture(scope="session")
def signature(bundle: Path) -> bytes:
    """The bundle's signature member."""
    with opened(bundle) as found:
        return found.signatures[0]


@pytest.fixture
def signed_again(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the bundle with other signature members."""

    def write(*members: bytes) -> Path:
        path = tmp_path / "again.gguf"
        named = sorted((signature_path(member), member) for member in members)
        with opened(bundle) as found:
            body = bundle.read_bytes()[: found.unsigned_arrangement().directory_offset]
            made = arrange(found.manifest.prefix.size, manifest_entries(found.manifest, found.manifest_bytes, named))
        placed = made.members[len(made.members) - len(named) :]
        tail = b"".join(item.header + data for item, (_, data) in zip(placed, named, strict=True))
        path.write_bytes(body + tail + made.directory)
        return path

    return write


@pytest.fixture(scope="session")
def sign() -> Callable[[Statement, KeyPair], bytes]:
    """Sign a statement."""
    return lambda statement, key: sign_statement(statement, key.signer, P256Verifier())


@pytest.fixture(scope="session")
def policy() -> Callable[..., TrustPolicy]:
    """Return the policy that trusts some keys, all with the same rules; they are called key-0, key-1 and so on."""

    def of(*keys: KeyPair, **rules: object) -> TrustPolicy:
        return TrustPolicy(
            keys=tuple(
                TrustedKey(name=f"key-{index}", public_key=key.public, **rules) for index, key in enumerate(keys)
            )
        )

    return of
