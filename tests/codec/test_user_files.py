"""The user's own files: configuration, credentials, trust policy. Each is parsed alike, each has its own error."""

from __future__ import annotations

import datetime as dt

import pytest

from lftool.codec.configurations import parse_configuration
from lftool.codec.credential_files import parse_credentials
from lftool.codec.policies import parse_policy
from lftool.errors import TrustError, UsageError
from lftool.models.configuration import (
    Configuration,
    PluginConfiguration,
    RemoteStoreConfiguration,
    SigningConfiguration,
)
from lftool.models.credentials_file import CredentialsFile, HostCredential
from lftool.models.policy import TrustedKey, TrustPolicy

PARSERS = {
    "config.toml": (parse_configuration, UsageError),
    "credentials.toml": (parse_credentials, UsageError),
    "trust.toml": (parse_policy, TrustError),
}
SECRET = '$.hosts."a.example".token: a secret is named as env:NAME, file:PATH or command:PROGRAM ARGUMENTS, never written here'


def refusal(name: str, text: str) -> str:
    parse, kind = PARSERS[name]
    with pytest.raises(kind) as caught:
        parse(text.encode(), name)
    return caught.value.message


def test_an_empty_configuration_is_the_default_one():
    assert parse_configuration(b"", "config.toml") == Configuration()


def test_every_key_of_a_configuration_is_parsed():
    text = b"""\
    roots = { data = "/data", home = "~/models" }
    sign = { key = "release.key" }
    remote-store = { trust-records = true }
    plugins = { idle-seconds = 1, confine = false }
    backends = { cuda = { device = 1 } }
    observers = { log = { to = "file" } }
    """
    assert parse_configuration(text, "config.toml") == Configuration(
        roots={"data": "/data", "home": "~/models"},
        sign=SigningConfiguration(key="release.key"),
        remote_store=RemoteStoreConfiguration(trust_records=True),
        plugins=PluginConfiguration(idle_seconds=1, confine=False),
        backends={"cuda": {"device": 1}},
        observers={"log": {"to": "file"}},
    )


def test_every_key_of_a_credentials_file_is_parsed():
    text = b"""\
    [hosts."a.example"]
    token = "env:TOKEN"
    header = { X-Key = "file:key" }
    query = "command:sign it"
    aws-profile = "work"
    """
    assert parse_credentials(text, "credentials.toml") == CredentialsFile(
        hosts={
            "a.example": HostCredential(
                token="env:TOKEN", header={"X-Key": "file:key"}, query="command:sign it", aws_profile="work"
            )
        }
    )


def test_every_key_of_a_policy_is_parsed():
    text = b"""\
    version = 1
    [[keys]]
    name = "release"
    scheme = "ed25519"
    plugin = "lftool-ed25519"
    public-key = "PEM"
    bundles = ["tiny*"]
    not-before = 2026-01-01
    not-after = 2026-12-31
    """
    assert parse_policy(text, "trust.toml") == TrustPolicy(
        keys=(
            TrustedKey(
                name="release",
                scheme="ed25519",
                plugin="lftool-ed25519",
                public_key="PEM",
                bundles=("tiny*",),
                not_before=dt.date(2026, 1, 1),
                not_after=dt.date(2026, 12, 31),
            ),
        )
    )


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_not_toml_is_an_error_that_names_the_file(name):
    assert refusal(name, "a = \n") == f"{name}: not valid TOML: Invalid value (at line 1, column 5)"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.toml", "[plugin]", "$.plugin: unknown key; did you mean 'plugins'?"),
        ("config.toml", "roots = 5", "$.roots: expected a table, got an integer"),
        ("config.toml", "roots = { a = 5 }", "$.roots.a: expected a string, got an integer"),
        ("config.toml", 'roots = { a = "b" }', "$.roots: the root 'a' must be an absolute path, not 'b'"),
        ("config.toml", "plugins = { idle-seconds = 0 }", "$.plugins.idle-seconds: 'idle_seconds' must be > 0: 0"),
        ("config.toml", "plugins = { confine = 1 }", "$.plugins.confine: expected true or false, got an integer"),
        ("config.toml", "backends = { cuda = 1 }", "$.backends: cuda: expected a table of options"),
        ("credentials.toml", '[hosts."a.example"]\ntoken = "s3cret"', SECRET),
        (
            "credentials.toml",
            '[hosts."a.example"]\nheader = []',
            '$.hosts."a.example".header: expected a table, got an array',
        ),
        (
            "credentials.toml",
            '[hosts."a b"]',
            "$.hosts: 'a b' names no host; write HOST, *.HOST, HOST:PORT or http://HOST:PORT",
        ),
        ("trust.toml", "", "$.version: missing"),
    ],
)
def test_a_mistake_is_named_with_its_path(name, text, message):
    assert refusal(name, text) == f"{name}: {message}"
