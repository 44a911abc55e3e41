"""What a user keeps secret goes where the user said, never where a project says: seen by servers that write down everything."""

from __future__ import annotations

import attrs
import pytest

from lftool.api import Credential, SourceContext, SourceRequest
from lftool.codec.locks import emit_lock, parse_lock
from lftool.errors import LftoolError, RecipeError, UnavailableError, UsageError
from lftool.pipeline.user_credentials import UserCredentials
from lftool.testing import FileServer, tiny_gguf
from lftool.testing.loopback import LoopbackServer

SECRET = "hunter2-this-must-go-nowhere"
RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "{uri}"
{options}
[model]
weights = "base"
[targets.one]
layout = "gguf"
"""
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": f"{SECRET}-session",
}


class Recorder(LoopbackServer):
    """Answers 404 and remembers every request line and header."""

    def __init__(self, location: str = "") -> None:
        self.seen: list[str] = []
        self.location = location

    def answer(self, handler) -> None:
        self.seen.append(f"{handler.command} {handler.path}\n{handler.headers}")
        handler.send_response(302 if self.location else 404)
        if self.location:
            handler.send_header("location", self.location)
        handler.send_header("content-length", "0")
        handler.end_headers()

    @property
    def heard(self) -> str:
        return "\n".join(self.seen)


@pytest.fixture
def recorder():
    with Recorder() as server:
        yield server


@pytest.fixture
def lftool(project):
    """Run a command in a process of its own; the variables are the user's."""

    def run(*arguments: str, **variables: str):
        return project.spawn(*arguments, env={"LFTOOL_FETCH_ATTEMPTS": "1", "LFTOOL_STALL_SECONDS": "2", **variables})

    return run


@pytest.mark.parametrize("option", ['token = "env:SECRET"', 'query = "env:SECRET"', 'deep = { list = ["env:SECRET"] }'])
@pytest.mark.parametrize("scheme", ["http", "hf", "s3", "oci", "file", "pypi"])
def test_a_recipe_names_no_variable_that_is_sent(project, lftool, recorder, option, scheme):
    uri = {"http": f"{recorder.url}/model.gguf"}.get(scheme, f"{scheme}://org/repo")
    project.write_recipe(RECIPE.format(uri=uri, options=f"options = {{ {option} }}"))

    done = lftool("lock", SECRET=SECRET)

    assert done.status == 2
    assert "a recipe must not name a variable whose content is sent to a server" in done.err
    assert "credentials.toml" in done.err
    assert recorder.seen == []


@pytest.fixture
def served(project, lftool):
    """A locked project whose weights are behind a URL, and its server."""
    tiny_gguf(project.root.parent / "model.gguf", width=32)
    with FileServer(files={"/model.gguf": (project.root.parent / "model.gguf").read_bytes()}) as server:
        project.write_recipe(RECIPE.format(uri=f"{server.url}/model.gguf", options=""))
        lftool("lock").assert_success()
        yield server


@pytest.mark.parametrize("command", ["fetch", "vendor", "push", "outdated", "build"])
def test_nothing_reads_the_options_of_a_lock(project, lftool, served, recorder, command):
    """Nor what else of a lock is not the recipe's: these commands demand a fresh one."""
    lock = parse_lock(project.lock.read_bytes(), "lock")
    for change in ({"options": {"token": "env:SECRET"}}, {"uri": f"{recorder.url}/model.gguf"}):
        source = attrs.evolve(lock.sources["base"], **change)
        project.lock.write_bytes(emit_lock(attrs.evolve(lock, sources={"base": source})))
        arguments = {"vendor": ("vendor", "out"), "push": ("cache", "push")}.get(command, (command,))

        done = lftool(
            *arguments,
            SECRET=SECRET,
            XDG_CACHE_HOME=str(project.home / "empty"),
            LFTOOL_REMOTE_STORE=f"{recorder.url}/store",
        )

        assert done.status == 3, done.err
        assert "sources.base: the lock pins a different request" in done.err
        assert SECRET not in recorder.heard


def test_a_credential_goes_to_its_host(project, lftool, recorder):
    project.write_recipe(RECIPE.format(uri=f"{recorder.url}/model.gguf", options=""))
    project.write_credentials(
        f'[hosts."{recorder.url}"]\ntoken = "env:TOKEN"\nquery = "env:QUERY"\nheader = {{ x-api-key = "env:KEY" }}\n'
    )

    lftool("lock", TOKEN="a-token", QUERY="?sig=a-signature", KEY="a-key")

    assert "HEAD /model.gguf?sig=a-signature\n" in recorder.heard
    assert "Bearer a-token" in recorder.heard
    assert "x-api-key: a-key" in recorder.heard


def test_a_credential_goes_to_no_other_port_and_behind_no_redirect(project, lftool):
    with Recorder() as other, Recorder(location=f"{other.url}/elsewhere.gguf") as first:
        project.write_recipe(RECIPE.format(uri=f"{first.url}/model.gguf", options=""))
        project.write_credentials(
            f'[hosts."{first.url}"]\ntoken = "env:SECRET"\nquery = "env:SECRET"\n'
            f'header = {{ x-api-key = "env:SECRET" }}\n[hosts."127.0.0.1"]\ntoken = "env:SECRET"\n'
        )
        lftool("lock", SECRET=SECRET)
        assert SECRET in first.heard
        assert other.seen
        assert SECRET not in other.heard


def test_a_command_gives_a_credential_and_a_file_does(project, lftool, recorder, tmp_path):
    (tmp_path / "secret").write_text("from-a-file\n")
    project.write_recipe(RECIPE.format(uri=f"{recorder.url}/model.gguf", options=""))
    project.write_credentials(
        f'[hosts."{recorder.url}"]\ntoken = "command:printf from-a-command"\n'
        f'header = {{ x-api-key = "file:{tmp_path / "secret"}" }}\n'
    )

    lftool("lock")

    assert "Bearer from-a-command" in recorder.heard
    assert "x-api-key: from-a-file" in recorder.heard


REFUSED = {
    "written out": ('token = "ghp_sekret"', UsageError, "a secret is named as env:NAME"),
    "not set": ('token = "env:NOT_SET"', UnavailableError, "hosts.https://h.token: the variable NOT_SET is not set"),
    "no file": ('token = "file:/nowhere"', UnavailableError, "hosts.https://h.token: cannot read /nowhere"),
    "a command that fails": ('token = "command:false"', UnavailableError, "the command false failed"),
    "a command that says nothing": ('token = "command:true"', UnavailableError, "the command true printed nothing"),
    "an unknown key": ('tokn = "env:X"', UsageError, "tokn"),
}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """The user's files, in a folder of the test's."""
    (tmp_path / "lftool").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("NOT_SET", raising=False)

    def write(credentials: str = "", netrc: str = "") -> UserCredentials:
        (tmp_path / "lftool" / "credentials.toml").write_text(credentials)
        (tmp_path / "netrc").write_text(netrc)
        (tmp_path / "netrc").chmod(0o600)
        return UserCredentials()

    return write


@pytest.mark.parametrize(("line", "error", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_credential_that_cannot_be_had_is_an_error_that_repeats_nothing(user, line, error, text):
    with pytest.raises(error) as caught:
        user(f'[hosts."https://h"]\n{line}\n').for_url("https://h/x")
    assert text in caught.value.message
    assert "sekret" not in caught.value.message


HOSTS = {
    "https by default": ("models.example.com", "https://models.example.com/x", True),
    "in capitals": ("Models.example.com", "https://MODELS.example.com/x", True),
    "not over http": ("models.example.com", "http://models.example.com/x", False),
    "over http if it says so": ("http://models.example.com", "http://models.example.com/x", True),
    "another port": ("models.example.com", "https://models.example.com:8443/x", False),
    "its port": ("models.example.com:8443", "https://models.example.com:8443/x", True),
    "below it": ("models.example.com", "https://evil.models.example.com/x", False),
    "a wildcard": ("*.example.com", "https://models.example.com/x", True),
    "a wildcard is not the name": ("*.example.com", "https://example.com/x", False),
    "a wildcard is not the end of a word": ("*.example.com", "https://evilexample.com/x", False),
    "a name in front": ("models.example.com", "https://models.example.com.evil.org/x", False),
    "user information": ("models.example.com", "https://models.example.com@evil.org/x", False),
    "a backslash": ("models.example.com", "https://evil.org\\@models.example.com/x", None),
    "an address": ("[::1]:8443", "https://[::1]:8443/x", True),
}


@pytest.mark.parametrize(("pattern", "url", "sent"), HOSTS.values(), ids=HOSTS.keys())
def test_a_credential_is_bound_to_scheme_host_and_port(user, monkeypatch, pattern, url, sent):
    monkeypatch.setenv("TOKEN", "t")
    found = user(f'[hosts."{pattern}"]\ntoken = "env:TOKEN"\n').for_url(url)
    if sent is not None:
        assert bool(found.headers) is sent


def test_the_exact_host_goes_before_a_pattern(user, monkeypatch):
    monkeypatch.setenv("ONE", "one")
    monkeypatch.setenv("TWO", "two")
    own = user('[hosts."*.example.com"]\ntoken = "env:ONE"\n[hosts."a.example.com"]\ntoken = "env:TWO"\n')
    assert own.for_url("https://a.example.com/x").headers == {"authorization": "Bearer two"}
    assert own.for_url("https://b.example.com/x").headers == {"authorization": "Bearer one"}


NETRC = "machine h login u password p\ndefault login everyone password sekret\n"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://h/x", {"authorization": "Basic dTpw"}),
        ("http://h/x", {}),
        ("https://other/x", {}),
        ("https://below.h/x", {}),
    ],
)
def test_netrc_is_read_last_for_named_machines_over_tls_only(user, url, sent):
    assert user(netrc=NETRC).for_url(url) == Credential(headers=sent)


def test_credentials_are_not_shown(user, monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    assert SECRET not in repr(user('[hosts."h"]\ntoken = "env:TOKEN"\nquery = "env:TOKEN"\n').for_url("https://h/"))


def test_an_endpoint_that_a_recipe_names_is_asked_anonymously(project, lftool, recorder):
    project.write_recipe(
        RECIPE.format(uri="s3://bucket/model.gguf", options=f'options = {{ endpoint = "{recorder.url}" }}')
    )
    lftool("lock", **KEYS)
    assert recorder.seen
    assert "authorization" not in recorder.heard.lower()
    assert SECRET not in recorder.heard


def test_keys_go_to_the_endpoint_that_the_user_names(project, lftool, recorder):
    project.write_recipe(RECIPE.format(uri="s3://bucket/model.gguf", options=""))
    lftool("lock", AWS_ENDPOINT_URL=recorder.url, AWS_REGION="us-east-1", **KEYS)
    assert "Credential=AKIAENVIRONMENT/" in recorder.heard


def test_a_profile_that_credentials_toml_names_signs_alone(project, lftool, recorder, tmp_path):
    """Nothing of the environment is mixed in: obstore adds its session token to keys that it is given."""
    shared = tmp_path / "credentials"
    shared.write_text("[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = w\n")
    project.write_credentials(f'[hosts."{recorder.url}"]\naws-profile = "work"\n')
    project.write_recipe(
        RECIPE.format(uri="s3://bucket/model.gguf", options=f'options = {{ endpoint = "{recorder.url}" }}')
    )
    lftool("lock", AWS_SHARED_CREDENTIALS_FILE=str(shared), AWS_REGION="us-east-1", **KEYS)
    assert "Credential=AKIAWORK/" in recorder.heard
    assert SECRET not in recorder.heard


@pytest.mark.parametrize("scheme", ["az", "gs"])
def test_other_providers_keys_go_to_no_endpoint_of_a_recipe(project, lftool, recorder, scheme):
    variables = {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "aHVudGVyMg==",
        "AZURE_STORAGE_SAS_KEY": f"sv=1&sig={SECRET}",
        "GOOGLE_BASE_URL": "",
    }
    project.write_recipe(
        RECIPE.format(uri=f"{scheme}://bucket/model.gguf", options=f'options = {{ endpoint = "{recorder.url}" }}')
    )
    done = lftool("lock", **variables)
    assert "/bucket/model" in recorder.heard
    assert "authorization" not in recorder.heard.lower()
    assert SECRET not in recorder.heard
    assert "Traceback" not in done.err


@pytest.mark.parametrize("options", ['profile = "work"', 'region = "x.evil.example/#"', 'region = "a b"'])
def test_a_recipe_chooses_no_profile_and_no_host_by_a_region(project, lftool, options):
    project.write_recipe(RECIPE.format(uri="s3://bucket/model.gguf", options=f"options = {{ {options} }}"))
    assert lftool("lock", **KEYS).status == 2


@pytest.mark.parametrize(
    "host", ["s3.us-east-1.amazonaws.com", "s3.amazonaws.com", "s3.dualstack.eu-west-1.amazonaws.com"]
)
def test_hosts_of_s3_itself_are_the_providers(host):
    from lftool_s3.signing import _is_users

    assert _is_users(f"https://{host}", "s3")
    assert not _is_users(f"http://{host}", "s3")
    assert not _is_users(f"https://{host}.evil.example", "s3")


@pytest.mark.parametrize(
    "host", ["x.elb.amazonaws.com", "evil.s3.amazonaws.com", "ec2-1-2-3-4.amazonaws.com", "s3.a.b.amazonaws.com"]
)
def test_other_hosts_below_amazonaws_are_anybodys(host):
    from lftool_s3.signing import _is_users

    assert not _is_users(f"https://{host}", "s3")


def test_the_hubs_token_goes_to_the_endpoint_that_the_user_names_only(project, lftool, recorder):
    project.write_recipe(RECIPE.format(uri=f"{recorder.url}/model.gguf", options=""))
    lftool("lock", HF_TOKEN=SECRET)
    assert recorder.seen
    assert SECRET not in recorder.heard

    project.write_recipe(RECIPE.format(uri="hf://org/repo", options=""))
    lftool("lock", HF_TOKEN=SECRET, HF_ENDPOINT=recorder.url)
    assert f"Bearer {SECRET}" in recorder.heard


def test_docker_credentials_go_to_their_registry_only(project, lftool, recorder, tmp_path):
    (tmp_path / "config.json").write_text('{"auths": {"registry.example.com": {"auth": "dXNlcjpodW50ZXIy"}}}')
    project.write_recipe(RECIPE.format(uri=f"oci://{recorder.address}/models/x:1", options=""))
    lftool("lock", DOCKER_CONFIG=str(tmp_path))
    assert recorder.seen
    assert "authorization" not in recorder.heard.lower()


def test_a_source_without_credentials_asks_anonymously(recorder):
    """What a plugin's test makes has nobody's credentials."""
    from lftool.builtin.http_source import HTTPSource

    source = HTTPSource(SourceContext(project=None))
    with pytest.raises(LftoolError):
        source.resolve(SourceRequest(uri=f"{recorder.url}/model.gguf"))
    assert "authorization" not in recorder.heard.lower()


def test_options_that_are_no_secrets_stay_possible(project, lftool, recorder):
    project.write_recipe(RECIPE.format(uri="s3://bucket/model.gguf", options='options = { region = "us-east-1" }'))
    done = lftool("lock", AWS_ENDPOINT_URL=recorder.url)
    assert done.status == 1
    assert RecipeError.code not in done.out
