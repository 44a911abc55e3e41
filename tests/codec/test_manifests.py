from __future__ import annotations

import json

import pytest

from lftool.codec.canonical import canonical_json
from lftool.codec.manifests import emit_manifest, parse_manifest
from lftool.errors import ExitStatus, FormatError
from lftool.models.digest import Digest
from lftool.models.manifest import BundleManifest, Member, Prefix
from lftool.models.run_contract import RunContract

ONE, TWO = "1" * 64, "2" * 64
PATHS = {
    "lftool/recipe.toml": "recipe",
    "lftool/lock.toml": "lock",
    "lftool/provenance.json": "provenance",
    "lftool/sbom.cdx.json": "sbom",
    "lftool/chunks": "chunks",
}
VALUE = BundleManifest(
    name="tiny",
    version="1",
    target="q4",
    layout="gguf",
    backend="cpu",
    prefix=Prefix(role="gguf", size=100, sha256=Digest(ONE), crc32="0123abcd"),
    members=tuple(
        Member(path=path, role=role, size=1, sha256=Digest(TWO), crc32="00000000") for path, role in PATHS.items()
    ),
    run=RunContract(context=512, temperature="0.5", stop=("x",)),
)
PLAIN = {
    "format": "lftool-bundle",
    "rules": 1,
    "name": "tiny",
    "version": "1",
    "target": "q4",
    "layout": "gguf",
    "backend": "cpu",
    "prefix": {"role": "gguf", "size": 100, "sha256": ONE, "crc32": "0123abcd"},
    "members": [
        {"path": path, "role": role, "size": 1, "sha256": TWO, "crc32": "00000000"} for path, role in PATHS.items()
    ],
    "run": {"context": 512, "temperature": "0.5", "stop": ["x"]},
}


def changed(**changes) -> dict:
    return {**PLAIN, **changes}


def without(key: str) -> dict:
    return {name: value for name, value in PLAIN.items() if name != key}


def first_member(**changes) -> list[dict]:
    return [{**PLAIN["members"][0], **changes}, *PLAIN["members"][1:]]


def refusal(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse_manifest(data, "bundle.json")
    return caught.value


def test_a_manifest_is_emitted_as_canonical_json():
    assert emit_manifest(VALUE) == canonical_json(PLAIN)


def test_a_manifest_is_parsed_into_values():
    assert parse_manifest(canonical_json(PLAIN), "bundle.json") == VALUE


def test_an_empty_run_contract_is_left_out():
    data = canonical_json(without("run"))
    assert emit_manifest(parse_manifest(data, "bundle.json")) == data


ROLES = "weights, adapter, projector, draft, runner, template, license, recipe, lock, provenance, sbom, chunks"

BAD_MANIFESTS = {
    "no prefix": (without("prefix"), "$.prefix: missing"),
    "no members": (without("members"), "$.members: missing"),
    "no format": (without("format"), "$.format: missing"),
    "no rules": (without("rules"), "$.rules: missing"),
    "another format": (changed(format="zip"), "$: format must be 'lftool-bundle', not 'zip'"),
    "rules 0": (changed(rules=0), "$: rules must be 1, not 0"),
    "rules as a string": (changed(rules="1"), "$: rules must be 1, not '1'"),
    "rules as a boolean": (changed(rules=True), "$: rules must be 1, not True"),
    "extra key": (changed(publisher="x"), "$.publisher: unknown key; valid: backend, format, layout, members, name, prefix, rules, run, target, version"),
    "typo": (changed(taget="x"), "$.taget: unknown key; did you mean 'target'?"),
    "extra key of a member": (
        changed(members=first_member(mode="0755")),
        "$.members[0].mode: unknown key; valid: crc32, path, role, sha256, size",
    ),
    "name as an integer": (changed(name=1), "$.name: expected a string, got an integer"),
    "name with a slash": (
        changed(name="a/b"),
        "$.name: 'a/b' is not a name: letters, digits and . _ + -, at most 64, starting with a letter or digit",
    ),
    "members as a table": (changed(members={}), "$.members: expected an array, got a table"),
    "member as a string": (changed(members=["x"]), "$.members[0]: expected a table, got a string"),
    "size as a string": (
        changed(members=first_member(size="1")),
        "$.members[0].size: expected an integer, got a string",
    ),
    "negative size": (changed(members=first_member(size=-1)), "$.members[0].size: 'size' must be >= 0: -1"),
    "path that climbs": (
        changed(members=first_member(path="../x")),
        ("$.members[0].path: '../x' is not a portable path: each part is letters, digits and . _ + = -,"
        " not starting or ending with a dot"),
    ),
    "null sha256": (changed(members=first_member(sha256=None)), "$.members[0].sha256: expected a sha256, got null"),
    "short sha256": (
        changed(members=first_member(sha256="11")),
        "$.members[0].sha256: a sha256 is 64 lower-case hex digits, not '11'",
    ),
    "crc32 in upper case": (
        changed(members=first_member(crc32="0000ABCD")),
        "$.members[0].crc32: a crc32 is 8 lower-case hex digits, not '0000ABCD'",
    ),
    "prefix of no bytes": (
        changed(prefix={**PLAIN["prefix"], "size": 0}),
        "$.prefix.size: 'size' must be >= 1: 0",
    ),
    "members out of order": (
        changed(members=PLAIN["members"][::-1]),
        "$: members are not in the order of (role, path)",
    ),
    "member missing": (
        changed(members=PLAIN["members"][1:]),
        "$: the member lftool/recipe.toml of role recipe is missing",
    ),
    "no weights": (
        changed(prefix={**PLAIN["prefix"], "role": "runtime"}),
        "$: a bundle has one set of weights: its prefix, or one member",
    ),
    "unknown role": (
        changed(members=first_member(role="virus")),
        f"$.members[0].role: expected one of {ROLES}, got 'virus'",
    ),
    "role of the manifest": (
        changed(members=first_member(role="manifest")),
        f"$.members[0].role: expected one of {ROLES}, got 'manifest'",
    ),
    "prefix of the role of a member": (
        changed(prefix={**PLAIN["prefix"], "role": "weights"}),
        "$.prefix.role: expected one of gguf, runtime, got 'weights'",
    ),
    "role as an array": (
        changed(prefix={**PLAIN["prefix"], "role": ["gguf"]}),
        "$.prefix.role: expected one of gguf, runtime, got ['gguf']",
    ),
    "context of 0": (changed(run={"context": 0}), "$.run.context: 'context' must be >= 1: 0"),
}  # fmt: skip


@pytest.mark.parametrize(("plain", "message"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_a_bad_manifest_is_refused(plain: dict, message: str):
    error = refusal(canonical_json(plain))
    assert (error.message, error.exit_status) == (f"bundle.json: {message}", ExitStatus.INTEGRITY)


def test_rules_of_the_future_are_refused_before_unknown_keys():
    error = refusal(canonical_json(changed(rules=2, novelty=1)))
    assert (error.message, error.hints) == ("bundle.json: rules 2, this lftool knows 1", ("use a newer lftool",))


NOT_CANONICAL = {
    "default spelt out": changed(run={**PLAIN["run"], "stop": []}),
    "empty run contract": changed(run={}),
    "real with a trailing zero": changed(run={"temperature": "0.50"}),
    "integer where a real stands": changed(run={"temperature": 1}),
    "null": changed(run={"context": None}),
}


@pytest.mark.parametrize("plain", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_another_encoding_of_the_same_values_is_refused(plain: dict):
    assert refusal(canonical_json(plain)).message == "bundle.json: not the canonical encoding of its values"


def test_white_space_is_refused():
    assert refusal(json.dumps(PLAIN).encode()).message == "bundle.json: JSON is not in its canonical encoding"


def test_a_float_is_refused():
    data = canonical_json(PLAIN).replace(b'"temperature":"0.5"', b'"temperature":0.5')
    assert refusal(data).message == "bundle.json: not canonical JSON: number 0.5 is not an integer"


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"1"])
def test_a_manifest_is_a_table(data: bytes):
    kinds = {b"[]": "an array", b"null": "null", b'"x"': "a string", b"1": "an integer"}
    assert refusal(data).message == f"bundle.json: $: expected a table, got {kinds[data]}"
