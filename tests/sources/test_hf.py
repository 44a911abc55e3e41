"""`hf://` sources: the conformance class and what only the Hub has, with the real `huggingface_hub`."""

from __future__ import annotations

import socket

import pytest

from lftool.testing import FaultProxy
from lftool.testing.hub import HubServer
from lftool.testing.source_kit import RECIPE, Served, SourceConformance, large_model

FILES = {"README.md": b"# a model\n", "config.json": b"{}", "model.gguf": large_model()}


@pytest.fixture
def hub():
    with HubServer() as server:
        server.repository("org/repo").commit(FILES)
        yield server


# The engine that waits is the same for all; nginx stays.
@pytest.mark.slow_cases(
    r"fault_ends_in.*\[(?!a short body|another part|another version for good|one wrong bit, once|a token)"
)
class TestHub(SourceConformance):
    """Large files come from another port, through the proxy."""

    spawns = True  # huggingface_hub reads HF_ENDPOINT when it is imported

    @pytest.fixture
    def served(self, hub):
        with FaultProxy(hub.large.url) as proxy:
            hub.large_url = proxy.url
            yield Served(
                uri="hf://org/repo",
                files=FILES,
                environment={"HF_ENDPOINT": hub.url},
                proxy=proxy,
                fault_path="/lfs/",
            )


@pytest.fixture
def lftool(project, hub):
    """Run lftool on a recipe whose source is `uri`, with some variables."""

    def run(uri: str, *arguments: str, options: str = "", **variables: str):
        project.write_recipe(RECIPE.format(uri=uri, options=options))
        return project.spawn(*arguments, env={"HF_ENDPOINT": hub.url, "LFTOOL_FETCH_ATTEMPTS": "1", **variables})

    return run


def source_of(project) -> dict:
    import tomllib

    return tomllib.loads(project.lock.read_text())["sources"]["base"]


def test_the_revision_is_the_commit_that_the_ref_meant(lftool, project, hub):
    commit = hub.repository("org/repo").refs["main"]

    lftool("hf://org/repo@main", "lock").assert_success()

    assert source_of(project)["revision"] == commit


def test_a_branch_that_moves_changes_nothing_until_an_upgrade(lftool, project, hub):
    lftool("hf://org/repo@main", "lock").assert_success()
    before = project.lock.read_bytes()
    new = hub.repository("org/repo").commit({**FILES, "config.json": b'{"a": 1}'})

    lftool("hf://org/repo@main", "lock").assert_success()
    assert project.lock.read_bytes() == before
    lftool("hf://org/repo@main", "lock", "--upgrade", "base").assert_success()

    assert source_of(project)["revision"] == new


@pytest.mark.parametrize(
    ("uri", "options", "paths"),
    [
        ("hf://org/repo/model.gguf", "", ["model.gguf"]),
        ("hf://org/repo", 'include = ["*.gguf"]', ["model.gguf"]),
        ("hf://org/repo", 'exclude = ["*.md", "*.json"]', ["model.gguf"]),
        ("hf://datasets/org/data/calibration", "", ["calibration/model.gguf"]),
        ("hf://org/repo@refs%2Fpr%2F1", "", ["model.gguf"]),
    ],
)
def test_what_a_uri_and_globs_choose(lftool, project, hub, uri, options, paths):
    hub.repository("org/data", "datasets").commit({"calibration/model.gguf": large_model(), "other.txt": b"x"})
    hub.repository("org/repo").commit({"model.gguf": large_model()}, ref="refs/pr/1")

    lftool(uri, "lock", options=options).assert_success()

    assert [file["path"] for file in source_of(project)["files"]] == paths


def test_the_token_reaches_the_hub_and_no_other_host(lftool, project, hub):
    hub.repository("org/repo").private = True
    with FaultProxy(hub.url) as front, FaultProxy(hub.large.url) as back:
        hub.large_url = back.url

        lftool("hf://org/repo", "lock", HF_ENDPOINT=front.url, HF_TOKEN=hub.token).assert_success()
        lftool("hf://org/repo", "fetch", HF_ENDPOINT=front.url, HF_TOKEN=hub.token).assert_success()

        assert {request.headers.get("authorization") for request in front.requests} == {f"Bearer {hub.token}"}
        assert back.requests
        assert {request.headers.get("authorization") for request in back.requests} == {None}


def test_no_token_and_no_signed_url_is_written_or_printed(lftool, project, hub):
    hub.repository("org/repo").private = True

    done = [lftool("hf://org/repo", command, HF_TOKEN=hub.token) for command in ("lock", "build")]

    texts = [outcome.out + outcome.err for outcome in done]
    texts += [p.read_bytes().decode(errors="replace") for p in project.root.rglob("*") if p.is_file()]
    assert [outcome.status for outcome in done] == [0, 0]
    assert [text for text in texts if hub.token in text or "signature=secret" in text] == []


SIGN_IN = "  hint: set HF_TOKEN to a token with read access, or run `hf auth login`\n"
REFUSED = {
    "no such repository": (
        "hf://org/nothing",
        "error: source 'hf://org/nothing': there is no model org/nothing, or it is private\n" + SIGN_IN,
    ),
    "no such revision": ("hf://org/repo@v9", "error: source 'hf://org/repo@v9': org/repo has no revision 'v9'\n"),
    "no such file": ("hf://org/repo/nothing.gguf", "error: source 'hf://org/repo/nothing.gguf': org/repo has no file below 'nothing.gguf'\n"),
    "gated": (
        "hf://org/gated",
        "error: source 'hf://org/gated': org/gated is gated: you must accept its terms first\n"
        "  hint: accept them on the repository's page\n" + SIGN_IN,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("uri", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_the_hub_refuses_is_said_with_what_to_do(lftool, hub, uri, message):
    hub.repository("org/gated").commit(FILES)
    hub.repository("org/gated").gated = True

    done = lftool(uri, "lock")

    assert (done.status, done.out, done.err) == (1, "", message)


def test_a_hub_that_cannot_be_reached_is_named_with_the_systems_reason(lftool, project):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # it does not listen
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = lftool("hf://org/repo", "lock", HF_ENDPOINT=endpoint)

    told = f"error: source 'base': gave up; the last one: the Hub cannot be reached at {endpoint}: Connection refused\n"
    assert (done.status, done.out, done.err) == (1, "", told)


@pytest.mark.parametrize("uri", ["hf://repo", "hf://org/repo@", "hf:org/repo", "hf://org/re po"])
def test_a_uri_of_another_form_is_refused(lftool, uri):
    done = lftool(uri, "lock")

    assert (done.status, done.err) == (
        2,
        (
            f"error: source {uri!r}: expected hf://OWNER/NAME[@REF][/PATH] or hf://datasets/OWNER/NAME[@REF][/PATH]\n"
            "  hint: a / within REF is written %2F\n"
        ),
    )


@pytest.mark.parametrize("uri", ["hf://user:hf_secret@org/repo", "hf://org/repo?token=hf_secret"])
def test_a_token_in_a_uri_is_refused_and_not_repeated(lftool, project, uri):
    done = lftool(uri, "lock")

    assert done.status == 2
    assert "hf_secret" not in done.err
    assert not project.lock.exists()


@pytest.mark.parametrize("path", ["../escape.gguf", "a/../../b", "/etc/passwd", "back\\slash"])
def test_a_file_name_that_could_escape_is_refused(lftool, project, hub, path):
    hub.repository("org/repo").commit({path: b"x", "model.gguf": large_model()})

    done = lftool("hf://org/repo", "lock")

    assert (done.status, project.lock.exists()) == (8, False)
    assert f"{path!r} is not a relative path with / between its parts" in done.err


def test_two_files_that_differ_in_case_only_are_refused(lftool, project, hub):
    hub.repository("org/repo").commit({"Config.json": b"x", "config.json": b"y", "model.gguf": large_model()})

    done = lftool("hf://org/repo", "lock")

    assert (done.status, project.lock.exists()) == (1, False)
    assert done.err == (
        "error: source 'base': 'Config.json' and 'config.json' differ in case only, and would be one file on some disks\n"
        "  hint: leave one out with `exclude`\n"
    )


def test_several_ggufs_are_an_error_that_lists_them(lftool, hub):
    hub.repository("org/repo").commit({"a.gguf": large_model(), "b.gguf": large_model()})

    done = lftool("hf://org/repo", "lock")

    assert (done.status, done.err) == (
        2,
        (
            "error: source 'base' has 2 files that could be the weights: a.gguf, b.gguf\n"
            '  hint: choose one: include = ["a.gguf"] under [sources.base]\n'
        ),
    )


def test_another_file_under_the_same_commit_is_exit_4_with_both_digests(lftool, project, hub):
    from lftool.models.digest import Digest

    lftool("hf://org/repo", "lock").assert_success()
    sha256 = Digest.of(FILES["model.gguf"])
    other = FILES["model.gguf"][:-1] + b"\x55"
    hub.large.files = _Always(other)

    done = lftool("hf://org/repo", "build", XDG_CACHE_HOME=str(project.home / "another"))

    assert done.status == 4
    assert f"expected sha256 {sha256} ({len(other)} bytes), got {Digest.of(other)} ({len(other)} bytes)" in done.err
    assert not (project.root / "dist").exists() or not list((project.root / "dist").iterdir())


class _Always(dict):
    """Every path has the same content."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def get(self, _path, _default=None):
        return self._data


def test_a_small_file_that_arrives_damaged_is_not_pinned(lftool, project, hub):
    """The Hub vouches for no sha256 of small files, but names their git objects."""
    hub.damaged.add("config.json")

    done = lftool("hf://org/repo@main", "lock")

    assert done.status == 1
    assert "config.json arrived damaged: expected git object" in done.err
    assert not project.lock.exists()
