"""Tests that every signer and every verifier must pass. Inherit a class, provide a key, and run pytest.

    class TestMine(SignerConformance):
        @pytest.fixture
        def key(self, project):
            write_key(project.root / "release.key")
            return KeyExample(reference="mine:release.key")

    class TestScheme(VerifierConformance):
        @pytest.fixture
        def signed(self):
            return SignedExample(name="mine-scheme", public_key=PEM, data=b"...", signature=b"...")

In an example of `lftool_examples`, `make` gives the same value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, frozen

from lftool.api import ProjectFiles, SignerContext, SignerType, Verifier, VerifierType
from lftool.errors import TrustError
from lftool.host.given_options import given_options
from lftool.host.returned import GuardedSigner, GuardedVerifier
from lftool.testing.bundle_recipes import toml, write_small_recipe

if TYPE_CHECKING:
    from lftool.host.registry import Registry
    from lftool.testing.project_folder import ProjectFolder


@frozen(kw_only=True)
class KeyExample:
    """A private key under test.

    Attributes:
        reference: Key reference in the recipe: `scheme:rest`.
        options: The recipe's `[sign.options]`.
        files: Path beside the recipe to content, such as the key.
        environment: Environment variables for lftool.
    """

    reference: str
    options: Mapping[str, Any] = Factory(dict)
    files: Mapping[str, bytes] = Factory(dict)
    environment: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True)
class SignedExample:
    """A valid signature of a scheme.

    Attributes:
        name: Name of the verifier, which is the scheme.
        public_key: The public key, PEM.
        data: What was signed.
        signature: Its signature.
    """

    name: str
    public_key: str
    data: bytes
    signature: bytes


class SignerConformance:
    """Tests of a signer through lftool itself, and of the bytes that it makes."""

    @pytest.fixture
    def key(self) -> KeyExample:
        """Override: return the key to test."""
        raise NotImplementedError

    @pytest.fixture
    def key_project(self, project: ProjectFolder, key: KeyExample) -> ProjectFolder:
        """A project that signs with the key."""
        sign: dict[str, Mapping[str, Any]] = {"sign": {"key": key.reference}}
        if key.options:
            sign["sign.options"] = key.options
        write_small_recipe(project, {"layout": "gguf"}, sign)
        for name, content in key.files.items():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            (project.root / name).write_bytes(content)
        return project

    @pytest.fixture
    def signer(self, key_project: ProjectFolder, key: KeyExample, monkeypatch: pytest.MonkeyPatch) -> GuardedSigner:
        """The signer under test."""
        for name, value in key.environment.items():
            monkeypatch.setenv(name, value)
        scheme, _, rest = key.reference.partition(":")
        registered = key_project.registry().signer(scheme)
        options = given_options(registered.record, key.options, "signer", "sign.options", TrustError)
        context = SignerContext(
            project=key_project.root,
            scheme=scheme,
            rest=rest,
            options=options,
            files=ProjectFiles(project=key_project.root),
        )
        assert isinstance(registered.record, SignerType)
        return GuardedSigner(registered.record.factory(context), registered.origin)

    def test_the_same_data_has_the_same_signature(self, signer: GuardedSigner) -> None:
        """A bundle's bytes must not depend on when it was signed."""
        assert signer.sign(b"lftool") == signer.sign(b"lftool")

    def test_its_scheme_has_a_verifier_that_accepts_what_it_signs(
        self, key_project: ProjectFolder, signer: GuardedSigner
    ) -> None:
        """And only for the data that was signed."""
        registered = key_project.registry().get(VerifierType, signer.scheme)
        verifier = GuardedVerifier(registered.record.factory(), registered.origin)
        signature = signer.sign(b"lftool")

        assert verifier.verify(b"lftool", signature, signer.public_key())
        assert not verifier.verify(b"another", signature, signer.public_key())

    def test_a_bundle_is_signed_and_verifies(
        self, key_project: ProjectFolder, key: KeyExample, signer: GuardedSigner
    ) -> None:
        """With the public key in a trust policy, as users have it."""
        key_project.spawn("lock", env=key.environment).assert_success()
        key_project.spawn("build", env=key.environment).assert_success()
        (bundle,) = (key_project.root / "dist").iterdir()
        keys = {
            "name": "release",
            "scheme": signer.scheme,
            "public-key": signer.public_key(),
            **_plugin_of(signer.scheme, key_project.registry()),
        }
        policy = key_project.root / "trust.toml"
        policy.write_text(
            "version = 1\n[[keys]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
        )

        done = key_project.spawn("verify", bundle, "--trust", policy)

        assert done.status == 0, done


def _plugin_of(scheme: str, registry: Registry) -> dict[str, str]:
    """Return what a policy needs for a scheme that a plugin provides."""
    origin = registry.get(VerifierType, scheme).origin
    return {} if origin.is_builtin else {"plugin": origin.entry_point}


class VerifierConformance:
    """Tests of a verifier."""

    @pytest.fixture
    def signed(self) -> SignedExample:
        """Override: return a valid signature."""
        raise NotImplementedError

    @pytest.fixture
    def verifier(self, project: ProjectFolder, signed: SignedExample) -> Verifier:
        """The verifier under test."""
        registered = project.registry().get(VerifierType, signed.name)
        return GuardedVerifier(registered.record.factory(), registered.origin)

    def test_it_accepts_the_signature(self, verifier: Verifier, signed: SignedExample) -> None:
        """For exactly these bytes."""
        assert verifier.verify(signed.data, signed.signature, signed.public_key)

    def test_it_refuses_every_other_signature(self, verifier: Verifier, signed: SignedExample) -> None:
        """A changed bit, one byte more, one byte less, nothing: only one encoding is accepted."""
        for position in range(len(signed.signature)):
            changed = bytearray(signed.signature)
            changed[position] ^= 1
            assert not verifier.verify(signed.data, bytes(changed), signed.public_key), position
        for other in (signed.signature + b"\0", signed.signature[:-1], b""):
            assert not verifier.verify(signed.data, other, signed.public_key)

    def test_it_refuses_other_data(self, verifier: Verifier, signed: SignedExample) -> None:
        """Even data that begins the same."""
        for data in (b"", signed.data + b"\0", signed.data[:-1]):
            assert not verifier.verify(data, signed.signature, signed.public_key)

    def test_a_key_has_one_id(self, verifier: Verifier, signed: SignedExample) -> None:
        """64 hexadecimal digits, the same every time."""
        assert verifier.key_id(signed.public_key) == verifier.key_id(signed.public_key)

    @pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
    def test_what_is_no_key_is_an_error_for_people(self, verifier: Verifier, text: str) -> None:
        """A trust policy is written by hand."""
        with pytest.raises(TrustError):
            verifier.key_id(text)
