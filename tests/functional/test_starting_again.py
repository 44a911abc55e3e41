"""`lftool run`, the second time: what is remembered, what never is, and command lines that are served the long way."""

from __future__ import annotations

import shutil
import time

import pytest
from tests.known_tools import give

from lftool.cli.quickstart import _simple
from lftool.pipeline.identity import host_runtime
from lftool.store.store import Store
from lftool.testing import ProjectFolder

PROMPT = "Tell me a story about a fox."
SETTLE_SECONDS = 2.1  # a file younger than two seconds gets no stamp
RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[run]
context = 64
temperature = 0
max_tokens = 2
[sign]
key = "file:release.key"
"""


@pytest.fixture(scope="module")
def started(repository, tmp_path_factory, known_tools) -> ProjectFolder:
    """A signed bundle that has been run once, so that how it starts is remembered."""
    base = tmp_path_factory.mktemp("started")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    give(known_tools, made.home)
    shutil.copy(repository / "examples" / "tiny-story" / "tiny-story-f16.gguf", made.root)
    made.write_recipe(RECIPE)
    for prefix in ("release", "other"):
        made.run("keygen", "-o", prefix).assert_success()
    made.run("lock").assert_success()
    made.run("build").assert_success()
    time.sleep(SETTLE_SECONDS)
    made.spawn("run", BUNDLE, "-p", PROMPT).assert_success()
    return made


@pytest.fixture
def project(started, tmp_path) -> ProjectFolder:
    """A cache and a configuration of its own, that remember."""
    shutil.copytree(started.home, tmp_path / "home")
    return ProjectFolder(root=started.root, home=tmp_path / "home")


BUNDLE = "dist/tiny-1-plain.gguf"


WHERE = "tiny-1-plain.gguf: on the processor; llama-cpp-python\n"


def key_id(project) -> str:
    return project.run("inspect", BUNDLE, "--json").assert_success().json()["key_ids"][0]


def test_a_remembered_start_says_and_answers_what_the_first_one_did(project):
    shutil.rmtree(project.cache)
    first = project.spawn("run", BUNDLE, "-p", PROMPT).assert_success()

    again = project.spawn("run", BUNDLE, "-p", PROMPT).assert_success()

    assert again == first
    assert first.err == (
        f"tiny-1-plain.gguf: claims to be signed with key {key_id(project)[:16]}; "
        f"the signature was not verified (give --key or --trust)\n{WHERE}"
    )


def test_a_remembered_start_loads_neither_the_command_line_parser_nor_plugins(project):
    done = project.spawn("run", BUNDLE, "-p", PROMPT, env={"PYTHONPROFILEIMPORTTIME": "1"}).assert_success()

    loaded = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "llama_cpp" in loaded
    assert loaded & {"click", "attrs", "cattrs", "lftool_llamacpp", "lftool.host.registry"} == set()


def test_a_bundle_that_changed_is_not_started_again(project, tmp_path):
    changed = tmp_path / "changed.gguf"
    data = bytearray((project.root / BUNDLE).read_bytes())
    data[1_000_000] ^= 1
    changed.write_bytes(data)

    done = project.spawn("run", changed, "-p", PROMPT)

    assert (done.status, done.out) == (4, "")
    assert done.err.startswith("error: changed.gguf: the prefix: bytes 0 to 4194304 have been changed:")


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("я" * 60_000, 120_002), ("x" * 100_000, 100_002)], ids=["two bytes a letter", "ASCII"]
)
def test_a_long_prompt_is_handed_over_whole(project, prompt, tokens):
    done = project.spawn("run", BUNDLE, "--raw", "-p", prompt)

    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines()[2:] == [
        f"{BUNDLE}: the prompt has {tokens} tokens and the context 256, which leaves no room for an answer; use a larger --ctx"
    ]


def test_messages_call_the_bundle_by_the_name_that_it_was_given(project):
    done = project.spawn("run", BUNDLE)

    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines()[2:] == [f"{BUNDLE}: no prompt: give -p, or write one to standard input"]


def test_a_plugin_that_may_not_be_loaded_any_more_ends_what_was_remembered(project):
    done = project.spawn("run", BUNDLE, "-p", PROMPT, env={"LFTOOL_PLUGINS": ""})

    assert (done.status, done.out) == (8, "")


def write_policy(project, key: str, rules: str = "") -> None:
    folder = project.home / "config" / "lftool"
    folder.mkdir(parents=True)
    pem = (project.root / f"{key}.pub").read_text()
    (folder / "trust.toml").write_text(f'version = 1\n[[keys]]\nname = "{key}"\npublic-key = """\n{pem}"""\n{rules}')


TRUST = {
    "the right key": (["--key", "release.pub"], None, 0, f"tiny-1-plain.gguf: signed by release.pub, trusted\n{WHERE}"),
    "another key": (
        ["--key", "other.pub"],
        None,
        5,
        (
            "error: tiny-1-plain.gguf: signature by key {id}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    ),
    "a policy of the user's": ([], ("release", ""), 0, f"tiny-1-plain.gguf: signed by release, trusted\n{WHERE}"),
    "a policy of the user's that trusts somebody else": (
        [],
        ("other", ""),
        5,
        (
            "error: tiny-1-plain.gguf: signature by key {id}: no trusted key verifies it\n"
            "  hint: give the signer's public key: --key PUB\n"
        ),
    ),
    "a policy that refuses the name": (
        [],
        ("release", 'bundles = ["other-*"]\n'),
        6,
        "error: tiny-1-plain.gguf: the key 'release' may sign other-*, not 'tiny'\n",
    ),
    "a key that goes before the user's policy": (
        ["--key", "release.pub"],
        ("other", ""),
        0,
        f"tiny-1-plain.gguf: signed by release.pub, trusted\n{WHERE}",
    ),
}


@pytest.mark.parametrize(("options", "own", "status", "message"), TRUST.values(), ids=TRUST.keys())
def test_trust_is_asked_every_time_whatever_is_remembered(project, options, own, status, message):
    if own is not None:
        write_policy(project, *own)

    for _ in range(2):
        done = project.spawn("run", BUNDLE, "-p", PROMPT, *options)

        assert (done.status, done.err) == (status, message.format(id=key_id(project)))
        assert bool(done.out) == (status == 0)


def test_a_policy_file_that_cannot_be_read_is_not_taken_for_none(project):
    folder = project.home / "config" / "lftool"
    folder.mkdir(parents=True)
    (folder / "trust.toml").symlink_to("nowhere")

    done = project.spawn("run", BUNDLE, "-p", PROMPT)

    path = folder / "trust.toml"
    assert (done.status, done.out, done.err) == (
        5,
        "",
        f"error: trust policy: cannot read {path}: No such file or directory\n",
    )


SIMPLE = {
    "a bundle": (["b"], ("b", [])),
    "a prompt": (["b", "-p", "x"], ("b", ["--prompt=x"])),
    "a prompt first": (["--prompt", "x", "b"], ("b", ["--prompt=x"])),
    "a prompt that looks like an option": (["b", "-p", "--raw"], ("b", ["--prompt=--raw"])),
    "a prompt that looks like a descriptor": (["b", "-p", "/dev/fd/7"], ("b", ["--prompt=/dev/fd/7"])),
    "all of them": (
        ["--raw", "b", "--max-tokens", "3", "-p", ""],
        ("b", ["--raw", "--max-tokens=3", "--prompt="]),
    ),
    "nothing": ([], None),
    "two bundles": (["a", "b"], None),
    "a key": (["b", "--key", "k"], None),
    "a policy": (["b", "--trust", "t"], None),
    "a backend": (["b", "--backend", "cpu"], None),
    "help": (["b", "--help"], None),
    "a prompt that is glued": (["b", "-px"], None),
    "no number": (["b", "--max-tokens", "many"], None),
    "a number of zero": (["b", "--max-tokens", "0"], None),
    "a value that is missing": (["b", "-p"], None),
    "an empty name": ([""], None),
}


@pytest.mark.parametrize(("arguments", "expected"), SIMPLE.values(), ids=SIMPLE.keys())
def test_only_command_lines_that_ask_for_nothing_special_are_served_the_short_way(arguments, expected):
    assert _simple(arguments) == expected


def test_a_runtime_that_this_machine_has_since_compiled_ends_what_was_remembered(project, tmp_path):
    """The next start is the long way, and takes it."""
    shutil.rmtree(project.cache / "stamps-v1")  # they name the cache that this one is a copy of
    for _ in range(2):
        project.spawn("run", BUNDLE, "-p", PROMPT).assert_success()
    store = Store(project.cache)
    script = b"#!/bin/sh\necho native $#\n"
    with store.in_use():
        store.actions.put(host_runtime("native-cpu/1"), {"executable": store.blobs.put_bytes(script, "a runtime")})

    done = project.spawn("run", BUNDLE, "-p", PROMPT).assert_success()

    assert (done.out, "native runtime" in done.err) == ("native 3\n", True)
