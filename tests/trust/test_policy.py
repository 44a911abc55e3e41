"""Who is trusted for what: verdicts as data, and what `lftool verify` makes of them."""

from __future__ import annotations

import base64
import datetime as dt
import json

import attrs
import pytest

from lftool.builtin.p256_keys import P256Verifier
from lftool.errors import FormatError, IntegrityError, PolicyError, TrustError
from lftool.models.digest import Digest
from lftool.models.policy import P256, TrustPolicy
from lftool.ops.bundles.verify import VerifyOptions, verify_bundle
from lftool.trust.envelope import Envelope, decode_envelope, encode_envelope
from lftool.trust.signing import sign_statement
from lftool.trust.statement import QUALITY_TYPE
from lftool.trust.verification import SignatureReport, SignatureResult, check_signature, check_signatures

DAY = dt.date(2026, 6, 1)
NEXT = DAY + dt.timedelta(days=1)
BEFORE = DAY - dt.timedelta(days=1)
VERIFIERS = {P256: P256Verifier()}
NOBODY = "no trusted key verifies it"


def report(claim, policy, *signatures, today=DAY) -> SignatureReport:
    return check_signatures(signatures, claim, policy, VERIFIERS, today)


def one(claim, policy, signature, today=DAY) -> SignatureResult:
    (result,) = report(claim, policy, signature, today=today).results
    return result


def test_a_trusted_signature(claim, policy, signature, statement, release_key):
    assert one(claim, policy(release_key), signature) == SignatureResult(
        verdict="trusted", key_id=release_key.id, key_name="key-0", reason="", unsigned=statement.unsigned
    )


def test_what_a_known_key_signed_is_in_the_result(claim, policy, signature, statement, release_key):
    assert one(claim, policy(release_key), signature).predicate == statement.predicate


def test_a_statement_of_quality_is_asked_for_by_its_type(claim, policy, statement, sign, release_key):
    """It is no claim about how the bundle was made: its predicate is not the provenance, and need not be."""
    data = sign(attrs.evolve(statement, predicate_type=QUALITY_TYPE, predicate={"perplexity": "5"}), release_key)

    found = check_signature(data, claim, policy(release_key), VERIFIERS, DAY, QUALITY_TYPE)

    assert (found.verdict, found.predicate) == ("trusted", {"perplexity": "5"})
    with pytest.raises(FormatError) as caught:
        one(claim, policy(release_key), data)
    assert caught.value.message == "signed statement: not the one accepted encoding of a provenance statement"


def test_a_member_that_is_no_envelope(claim, policy, release_key):
    with pytest.raises(FormatError, match=r"^signature member: not a Sigstore bundle v0\.3 with one DSSE signature$"):
        one(claim, policy(release_key), b"{}")


def test_provenance_in_another_spelling(claim, policy, signature, release_key):
    other = attrs.evolve(claim, provenance=claim.provenance + b"\n")
    with pytest.raises(FormatError, match=r"^lftool/provenance\.json: JSON is not in its canonical encoding$"):
        one(other, policy(release_key), signature)


def test_another_key(claim, policy, signature, release_key, other_key):
    assert one(claim, policy(other_key), signature) == SignatureResult(
        verdict="untrusted", key_id=release_key.id, reason=NOBODY
    )


def test_the_key_that_verifies_is_named_among_several(claim, policy, signature, release_key, other_key):
    assert one(claim, policy(other_key, release_key), signature).key_name == "key-1"


def test_two_signatures_of_two_trusted_keys(claim, policy, signature, statement, sign, release_key, other_key):
    found = report(claim, policy(release_key, other_key), signature, sign(statement, other_key))
    assert [(result.verdict, result.key_name) for result in found.results] == [
        ("trusted", "key-0"),
        ("trusted", "key-1"),
    ]
    assert found


def test_a_report_without_signatures_is_false(claim, policy, release_key):
    assert not report(claim, policy(release_key))


def test_a_report_with_a_refused_signature_is_false():
    made = {verdict: SignatureResult(verdict=verdict, key_id="x") for verdict in ("trusted", "refused", "untrusted")}
    truth = {
        names: bool(SignatureReport(results=tuple(made[name] for name in names.split())))
        for names in ("trusted", "trusted untrusted", "trusted refused", "refused", "untrusted")
    }
    assert truth == {
        "trusted": True,
        "trusted untrusted": True,
        "trusted refused": False,
        "refused": False,
        "untrusted": False,
    }


# --- names


@pytest.mark.parametrize(
    ("globs", "verdict"),
    [
        (("*",), "trusted"),
        (("tiny",), "trusted"),
        (("t*",), "trusted"),
        (("t?ny",), "trusted"),
        (("[st]iny",), "trusted"),
        (("other", "tiny"), "trusted"),
        (("other",), "refused"),
        (("Tiny",), "refused"),
        (("tin",), "refused"),
        (("tiny-*",), "refused"),
        (("tiny-1-plain",), "refused"),
        (("",), "refused"),
        ((), "refused"),
    ],
)
def test_a_key_signs_only_the_names_it_may(claim, policy, signature, release_key, globs, verdict):
    assert one(claim, policy(release_key, bundles=globs), signature).verdict == verdict


def test_a_refused_name_says_which_are_allowed(claim, policy, signature, statement, release_key):
    assert one(claim, policy(release_key, bundles=("a-*", "b")), signature) == SignatureResult(
        verdict="refused",
        key_id=release_key.id,
        key_name="key-0",
        reason="the key 'key-0' may sign a-*, b, not 'tiny'",
        unsigned=statement.unsigned,
    )


# --- days


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"not_before": DAY}, ""),
        ({"not_after": DAY}, ""),
        ({"not_before": BEFORE, "not_after": NEXT}, ""),
        ({"not_before": NEXT}, "the key 'key-0' is valid from 2026-06-02 on"),
        ({"not_after": BEFORE}, "the key 'key-0' was valid until 2026-05-31"),
        ({"not_before": NEXT, "not_after": BEFORE}, "the key 'key-0' is valid from 2026-06-02 on"),
    ],
)
def test_a_key_is_valid_from_its_first_to_its_last_day(claim, policy, signature, release_key, rules, reason):
    found = one(claim, policy(release_key, **rules), signature)
    assert (found.verdict, found.reason) == ("refused" if reason else "trusted", reason)


def test_the_day_decides(bundle, policy, release_key):
    options = VerifyOptions(policy=policy(release_key, not_after=DAY), threads=1)

    assert verify_bundle(bundle, options, today=DAY).signed_by == ("key-0",)
    with pytest.raises(PolicyError, match=r"^tiny-1-plain\.gguf: the key 'key-0' was valid until 2026-06-01$"):
        verify_bundle(bundle, options, today=NEXT)


# --- what is signed


def test_a_statement_about_another_bundle(claim, policy, statement, sign, release_key):
    other = Digest("1" * 64)
    found = one(claim, policy(release_key), sign(attrs.evolve(statement, manifest=other), release_key))
    assert found == SignatureResult(
        verdict="untrusted",
        key_id=release_key.id,
        key_name="key-0",
        reason=f"it is about another bundle: it names M {other}, this bundle has {claim.manifest_digest}",
    )


def test_a_statement_about_another_name(claim, policy, statement, sign, release_key):
    found = one(claim, policy(release_key), sign(attrs.evolve(statement, bundle="tiny-2-plain"), release_key))
    assert (found.verdict, found.reason) == ("untrusted", "it is about 'tiny-2-plain', this bundle is 'tiny-1-plain'")


def test_a_predicate_that_differs_from_the_embedded_provenance(claim, policy, statement, sign, release_key):
    changed = json.loads(json.dumps(statement.predicate))
    changed["runDetails"]["builder"]["id"] = "urn:example:elsewhere"
    found = one(claim, policy(release_key), sign(attrs.evolve(statement, predicate=changed), release_key))
    assert (found.verdict, found.reason) == ("untrusted", "its predicate is not the provenance in the bundle")


def test_a_statement_about_another_u_is_found_by_full(policy, statement, sign, release_key, signed_again):
    wrong = Digest("2" * 64)
    path = signed_again(sign(attrs.evolve(statement, unsigned=wrong), release_key))
    options = VerifyOptions(policy=policy(release_key), threads=1)

    assert verify_bundle(path, options, today=DAY).signed_by == ("key-0",)
    with pytest.raises(IntegrityError) as caught:
        verify_bundle(path, attrs.evolve(options, full=True), today=DAY)
    assert (caught.value.message, caught.value.exit_status) == (
        f"again.gguf: the signature is about an unsigned bundle with sha256 {wrong}, but this one has {statement.unsigned}",
        4,
    )


def test_a_key_id_that_is_not_that_of_the_key(claim, policy, signature, release_key, other_key):
    envelope = attrs.evolve(decode_envelope(signature, "x"), key_id=other_key.id)
    with pytest.raises(FormatError) as caught:
        one(claim, policy(release_key), encode_envelope(envelope))
    assert caught.value.message == f"signature member: names key {other_key.id}, but key {release_key.id} made it"


def test_a_payload_that_is_no_statement(claim, policy, release_key):
    envelope = Envelope(payload=b"{}", key_id=release_key.id, signature=b"")
    made = attrs.evolve(envelope, signature=release_key.signer.sign(envelope.signed_bytes))
    with pytest.raises(FormatError, match=r"^signed statement: not a provenance statement about a bundle$"):
        one(claim, policy(release_key), encode_envelope(made))


def test_a_payload_of_another_spelling(claim, policy, signature, release_key):
    envelope = attrs.evolve(decode_envelope(signature, "x"), payload=decode_envelope(signature, "x").payload + b"\n")
    made = attrs.evolve(envelope, signature=release_key.signer.sign(envelope.signed_bytes))
    with pytest.raises(FormatError, match=r"^signed statement: JSON is not in its canonical encoding$"):
        one(claim, policy(release_key), encode_envelope(made))


class Careless:
    """A signer whose signatures its own key does not verify."""

    def __init__(self, key) -> None:
        self._key = key

    def public_key(self) -> str:
        """Return a key that did not sign."""
        return self._key.public

    def sign(self, data: bytes) -> bytes:
        """Return a signature of something else."""
        return self._key.signer.sign(data + b"\0")


def test_a_signer_is_checked_before_its_signature_is_used(statement, release_key):
    with pytest.raises(TrustError, match=r"^the signer made a signature that its own public key does not verify$"):
        sign_statement(statement, Careless(release_key), P256Verifier())


# --- `lftool verify`


def verified(signed, path, *options) -> tuple[int, str, str]:
    found = signed.run("verify", path, *options)
    return (found.status, found.out, found.err)


def test_verify_says_what_it_checked_and_who_signed(signed, bundle, claim):
    assert verified(signed, bundle, "--key", "release.pub") == (
        0,
        (
            f"tiny-1-plain.gguf: every byte matches the manifest; M {claim.manifest_digest}\n"
            "signed by release.pub, which you trust\n"
        ),
        "",
    )


def test_full_says_what_it_checked_besides(signed, bundle, claim):
    assert verified(signed, bundle, "--key", "release.pub", "--full") == (
        0,
        (
            "tiny-1-plain.gguf: every byte, flat digest and CRC-32 matches the manifest;"
            f" M {claim.manifest_digest}\n"
            "signed by release.pub, which you trust\n"
        ),
        "",
    )


@pytest.mark.parametrize("full", [False, True])
def test_json_is_the_whole_result(signed, bundle, statement, release_key, full):
    found = signed.run("verify", bundle, "--key", "release.pub", "--json", *(["--full"] if full else []))

    assert (found.status, found.err) == (0, "")
    assert found.json() == {
        "bundle": str(bundle),
        "name": "tiny",
        "version": "1",
        "target": "plain",
        "manifest_sha256": statement.manifest.hex,
        "unsigned_sha256": statement.unsigned.hex if full else None,
        "integrity": True,
        "full": full,
        "signed_by": ["release.pub"],
        "signatures": [{"verdict": "trusted", "key_id": release_key.id, "key_name": "release.pub", "reason": ""}],
    }


def test_nobody_to_trust(signed, bundle):
    assert verified(signed, bundle) == (
        5,
        "",
        (
            "error: tiny-1-plain.gguf: no trusted key or policy given\n"
            "  hint: give --key PUB, --trust FILE, or --allow-unsigned\n"
        ),
    )


def test_key_and_trust_together(signed, bundle):
    status, out, err = verified(signed, bundle, "--key", "release.pub", "--trust", "trust.toml")
    assert (status, out, err.splitlines()[-2]) == (2, "", "error: give --key or --trust, not both")


UNSIGNED = "error: again.gguf is unsigned\n  hint: to check only its integrity: --allow-unsigned\n"


def test_an_unsigned_bundle(signed, signed_again):
    assert verified(signed, signed_again(), "--key", "release.pub") == (5, "", UNSIGNED)


@pytest.mark.parametrize("options", [(), ("--key", "release.pub")])
def test_an_unsigned_bundle_that_is_allowed(signed, signed_again, claim, options):
    assert verified(signed, signed_again(), "--allow-unsigned", *options) == (
        0,
        (
            f"again.gguf: every byte matches the manifest; M {claim.manifest_digest}\n"
            "integrity only: no signature verified\n"
        ),
        "",
    )


def test_a_signed_bundle_checked_for_integrity_only(signed, bundle, claim):
    assert verified(signed, bundle, "--allow-unsigned") == (
        0,
        (
            f"tiny-1-plain.gguf: every byte matches the manifest; M {claim.manifest_digest}\n"
            "integrity only: no signature verified\n"
        ),
        "",
    )


def test_allow_unsigned_does_not_allow_another_key(signed, bundle, release_key):
    assert verified(signed, bundle, "--allow-unsigned", "--key", "other.pub") == (
        5,
        "",
        (
            f"error: tiny-1-plain.gguf: signature by key {release_key.id}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    )


def test_json_of_an_unsigned_bundle(signed, signed_again, statement):
    path = signed_again()
    found = signed.run("verify", path, "--allow-unsigned", "--json")

    assert found.assert_success().json() == {
        "bundle": str(path),
        "name": "tiny",
        "version": "1",
        "target": "plain",
        "manifest_sha256": statement.manifest.hex,
        "unsigned_sha256": None,
        "integrity": True,
        "full": False,
        "signed_by": [],
        "signatures": [],
    }


def test_a_second_signature_of_nobody_we_know(signed, signed_again, signature, statement, sign, other_key):
    path = signed_again(signature, sign(statement, other_key))
    assert verified(signed, path, "--key", "release.pub") == (
        5,
        "",
        (
            f"error: again.gguf: signature by key {other_key.id}: no trusted key verifies it\n"
            "  hint: trust that key too, with another --key or a policy file\n"
            "  hint: or list signatures of other keys instead of failing: --allow-other-signatures\n"
        ),
    )


def test_a_second_signature_of_nobody_we_know_that_is_allowed(
    signed, signed_again, signature, statement, claim, sign, other_key
):
    path = signed_again(signature, sign(statement, other_key))
    assert verified(signed, path, "--key", "release.pub", "--allow-other-signatures") == (
        0,
        (
            f"again.gguf: every byte matches the manifest; M {claim.manifest_digest}\n"
            "signed by release.pub, which you trust\n"
            f"not verified: signature by key {other_key.id}: no trusted key verifies it\n"
        ),
        "",
    )


def test_other_signatures_alone_are_not_enough(signed, bundle, release_key):
    assert verified(signed, bundle, "--key", "other.pub", "--allow-other-signatures") == (
        5,
        "",
        (
            f"error: tiny-1-plain.gguf: signature by key {release_key.id}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    )


def test_two_signatures_of_keys_that_we_know(signed, signed_again, signature, statement, sign, other_key, policy_file):
    path = signed_again(signature, sign(statement, other_key))
    trust = policy_file(("one", "release.pub", ""), ("two", "other.pub", ""))

    status, out, err = verified(signed, path, "--trust", trust)

    assert (status, out.splitlines()[1:], err) == (0, ["signed by one, two, which you trust"], "")


def test_a_high_s_signature_is_not_accepted(signed, signed_again, signature, release_key):
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    envelope = decode_envelope(signature, "x")
    r, s = decode_dss_signature(envelope.signature)
    path = signed_again(encode_envelope(attrs.evolve(envelope, signature=encode_dss_signature(r, order - s))))

    assert verified(signed, path, "--key", "release.pub") == (
        5,
        "",
        (
            f"error: again.gguf: signature by key {release_key.id}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    )


def test_a_signature_member_in_another_spelling(signed, signed_again, signature):
    path = signed_again(json.dumps(json.loads(signature)).encode())
    assert verified(signed, path, "--key", "release.pub") == (
        4,
        "",
        f"error: {path.name}: signature member: JSON is not in its canonical encoding\n",
    )


def test_a_signature_member_with_unpadded_base64(signed, signed_again, signature):
    value = json.loads(signature)
    raw = base64.b64decode(value["dsseEnvelope"]["signatures"][0]["sig"])
    value["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(raw).decode().rstrip("=") + "\n"
    path = signed_again(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
    assert verified(signed, path, "--key", "release.pub") == (
        4,
        "",
        f"error: {path.name}: signature member: not a Sigstore bundle v0.3 with one DSSE signature\n",
    )


def test_integrity_is_checked_in_spite_of_a_good_signature(signed, bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[3000] ^= 1
    (tmp_path / "bad.gguf").write_bytes(data)
    assert signed.run("verify", tmp_path / "bad.gguf", "--key", "release.pub").status == 4


# --- key files


@pytest.mark.parametrize(
    "text", ["", "garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "\xff\0"]
)
def test_a_key_file_with_garbage(signed, bundle, tmp_path, text):
    (tmp_path / "bad.pub").write_text(text, encoding="latin-1")
    assert verified(signed, bundle, "--key", tmp_path / "bad.pub") == (
        5,
        "",
        (
            "error: trusted key 'bad.pub': not a supported PEM public key\n"
            "  hint: `lftool keygen` writes one as PREFIX.pub\n"
        ),
    )


def test_a_private_key_given_as_public(signed, bundle):
    assert verified(signed, bundle, "--key", "release.key") == (
        5,
        "",
        (
            "error: trusted key 'release.key': a private key, expected the public key\n"
            "  hint: `lftool keygen` writes one as PREFIX.pub\n"
        ),
    )


def test_a_key_file_that_is_not_there(signed, bundle):
    assert verified(signed, bundle, "--key", "no.pub") == (
        5,
        "",
        "error: --key: cannot read no.pub: No such file or directory\n",
    )


# --- policy files


@pytest.fixture
def policy_file(signed, tmp_path):
    """Write a trust policy: (name, key file, other lines) per key."""

    def write(*keys, head="version = 1\n"):
        blocks = [
            f'\n[[keys]]\nname = "{name}"\npublic-key = """\n{(signed.root / file).read_text()}"""\n{lines}\n'
            for name, file, lines in keys
        ]
        path = tmp_path / "trust.toml"
        path.write_text(head + "".join(blocks))
        return path

    return write


def test_a_policy_file_that_trusts_the_signer(signed, bundle, claim, policy_file):
    lines = 'bundles = ["tin*"]\nnot-before = 2026-01-01\nnot-after = 9999-12-31'
    assert verified(signed, bundle, "--trust", policy_file(("release 2026", "release.pub", lines))) == (
        0,
        (
            f"tiny-1-plain.gguf: every byte matches the manifest; M {claim.manifest_digest}\n"
            "signed by release 2026, which you trust\n"
        ),
        "",
    )


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('bundles = ["other-*"]', "the key 'r' may sign other-*, not 'tiny'"),
        ("not-after = 2020-02-29", "the key 'r' was valid until 2020-02-29"),
        ("not-before = 9999-12-31", "the key 'r' is valid from 9999-12-31 on"),
    ],
)
def test_a_policy_file_that_refuses(signed, bundle, policy_file, lines, reason):
    assert verified(signed, bundle, "--trust", policy_file(("r", "release.pub", lines))) == (
        6,
        "",
        f"error: tiny-1-plain.gguf: {reason}\n",
    )


@pytest.mark.parametrize("options", [("--allow-other-signatures",), ("--allow-unsigned",)])
def test_nothing_allows_what_the_policy_refuses(signed, bundle, policy_file, options):
    trust = policy_file(("r", "release.pub", "not-after = 2020-02-29"))
    assert verified(signed, bundle, "--trust", trust, *options)[0] == 6


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('bundels = ["*"]', "$.keys[0].bundels: unknown key; did you mean 'bundles'?"),
        ("not_after = 2026-01-01", "$.keys[0].not_after: unknown key; did you mean 'not-after'?"),
        ('bundles = "*"', "$.keys[0].bundles: expected an array, got a string"),
        ('not-after = "2026-01-01"', "$.keys[0].not-after: expected a date, got a string"),
    ],
)
def test_a_policy_file_with_a_mistake(signed, bundle, policy_file, lines, message):
    trust = policy_file(("r", "release.pub", lines))
    assert verified(signed, bundle, "--trust", trust) == (5, "", f"error: {trust}: {message}\n")


@pytest.mark.parametrize("day", ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00", "2026-01-01T00:00:00+02:00"])
def test_a_policy_file_with_a_time_where_a_date_belongs(signed, bundle, policy_file, day):
    trust = policy_file(("r", "release.pub", f"not-after = {day}"))
    status, out, err = verified(signed, bundle, "--trust", trust)
    assert (status, out) == (5, "")
    assert err.startswith(f"error: {trust}: $.keys[0].not-after: expected a date, got ")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", "$.version: missing"),
        ("version = 2\n", "$: version must be 1, not 2"),
        ("version = 1\nkyes = 1\n", "$.kyes: unknown key; did you mean 'keys'?"),
    ],
)
def test_a_policy_file_with_a_wrong_head(signed, bundle, policy_file, head, message):
    trust = policy_file(("r", "release.pub", ""), head=head)
    assert verified(signed, bundle, "--trust", trust) == (5, "", f"error: {trust}: {message}\n")


def test_a_policy_file_without_keys(signed, bundle, policy_file):
    trust = policy_file()
    assert verified(signed, bundle, "--trust", trust) == (5, "", f"error: {trust}: $.keys: missing\n")


def test_a_policy_file_with_an_empty_list_of_keys(signed, bundle, policy_file):
    trust = policy_file(head="version = 1\nkeys = []\n")
    status, out, err = verified(signed, bundle, "--trust", trust)
    assert (status, out, err.startswith(f"error: {trust}: $.keys: ")) == (5, "", True)


def test_a_policy_file_without_a_public_key(signed, bundle, tmp_path):
    trust = tmp_path / "trust.toml"
    trust.write_text('version = 1\n[[keys]]\nname = "r"\n')
    assert verified(signed, bundle, "--trust", trust) == (
        5,
        "",
        f"error: {trust}: $.keys[0].public-key: missing\n",
    )


def test_a_policy_file_that_is_not_toml(signed, bundle, tmp_path):
    trust = tmp_path / "trust.toml"
    trust.write_text("version = \n")
    message = f"error: {trust}: not valid TOML: Invalid value (at line 1, column 11)\n"
    assert verified(signed, bundle, "--trust", trust) == (5, "", message)


def test_a_policy_file_with_a_garbage_key(signed, bundle, tmp_path):
    trust = tmp_path / "trust.toml"
    trust.write_text('version = 1\n[[keys]]\nname = "r"\npublic-key = "garbage"\n')
    status, out, err = verified(signed, bundle, "--trust", trust)
    assert (status, out, err.splitlines()[0]) == (
        5,
        "",
        "error: trusted key 'r': not a supported PEM public key",
    )


def test_a_policy_file_with_a_scheme_that_nobody_provides(signed, bundle, policy_file):
    trust = policy_file(("r", "release.pub", 'scheme = "ed25519"'))
    assert verified(signed, bundle, "--trust", trust) == (
        5,
        "",
        (
            "error: trusted key 'r': the scheme 'ed25519' is not built in\n"
            '  hint: name the plugin that verifies it: plugin = "…"; only that one is loaded\n'
        ),
    )


def test_a_policy_file_that_is_not_there(signed, bundle):
    assert verified(signed, bundle, "--trust", "no.toml") == (
        5,
        "",
        "error: trust policy: cannot read no.toml: No such file or directory\n",
    )


def test_a_key_that_stands_twice_is_trusted_when_either_entry_allows_it(claim, policy, signature, release_key):
    expired = policy(release_key, not_after=dt.date(2020, 1, 1)).keys[0]
    valid = attrs.evolve(expired, name="valid", not_after=None)

    found = [one(claim, TrustPolicy(keys=keys), signature) for keys in ((expired, valid), (valid, expired), (expired,))]

    assert [(result.verdict, result.key_name) for result in found] == [
        ("trusted", "valid"),
        ("trusted", "valid"),
        ("refused", "key-0"),
    ]
