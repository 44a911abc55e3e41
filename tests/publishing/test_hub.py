"""`lftool push hf://…` with the real `huggingface_hub`, and `lftool pull` from there."""

from __future__ import annotations

import pytest

from lftool.api import Digest, Publication, PublishedBundle, PublishedFile, PublishedSource
from lftool.api.gguf import GGUFHeader
from lftool.testing.hub import HubServer
from lftool_hf.card import BEGIN, END, card, front_matter, hub_license

PLAIN, START = "dist/tiny-1-plain.gguf", "dist/tiny-1-start.llamafile"
PARTS = {"tiny-1-plain.gguf", "tiny-1-plain.lftool", "tiny-1-start.gguf", "tiny-1-start.lftool", "tiny-1-start.runtime"}


@pytest.fixture
def hub():
    with HubServer() as server:
        server.repository("org/tiny").commit({".gitattributes": b"*.gguf filter=lfs\n"})
        yield server


@pytest.fixture
def lftool(folder, hub):
    """huggingface_hub reads HF_ENDPOINT when it is imported, so this is a process of its own."""

    def run(*arguments: str, token: str | None = hub.token, **variables: str):
        named = {} if token is None else {"HF_TOKEN": token}
        return folder.spawn(
            *arguments, env={"HF_ENDPOINT": hub.url, "LFTOOL_FETCH_ATTEMPTS": "1", **named, **variables}
        )

    return run


def head(hub, ref: str = "main") -> dict[str, bytes]:
    repository = hub.repository("org/tiny")
    return repository.commits[repository.refs[ref]]


def test_one_commit_has_the_parts_and_a_card(lftool, hub, folder):
    done = lftool("push", "hf://org/tiny", "dist", "--json").assert_success().json()
    repository = hub.repository("org/tiny")
    files = head(hub)
    assert set(files) == {".gitattributes", "README.md", *PARTS}
    assert repository.messages == ["tiny 1"]
    assert done["location"] == f"hf://org/tiny@{repository.refs['main']}"
    lftool("pull", "hf://org/tiny", "-o", "back", "--key", "release.pub").assert_success()
    for name in (PLAIN, START):
        assert (folder.root / "back" / name.partition("/")[2]).read_bytes() == (folder.root / name).read_bytes()


def test_the_card_says_how_to_verify(lftool, hub):
    lftool("push", "hf://org/tiny", "dist").assert_success()
    text = head(hub)["README.md"].decode()
    assert text.startswith('---\nlicense: "apache-2.0"\ntags:\n- "gguf"\n- "lftool"\n---\n\n' + BEGIN)
    assert "lftool pull --key PUBLIC_KEY hf://org/tiny\n" in text
    assert "| `tiny-1-plain.gguf` | F16 | 10.6 MB | 64 |\n" in text


def test_a_second_push_commits_nothing(lftool, hub):
    lftool("push", "hf://org/tiny", "dist").assert_success()
    before = hub.repository("org/tiny").refs["main"]
    again = lftool("push", "hf://org/tiny", "dist", "--json").assert_success().json()
    assert (again["sent"], hub.repository("org/tiny").refs["main"]) == (0, before)


def test_a_pull_request(lftool, hub):
    before = head(hub)
    done = lftool("push", "hf://org/tiny", "dist", "--pr", "--message", "A first version").assert_success()
    assert "open for review: " in done.err
    assert head(hub) == before
    assert set(head(hub, "refs/pr/1")) > PARTS
    assert hub.repository("org/tiny").messages == ["A first version"]


def test_a_branch(lftool, hub):
    hub.repository("org/tiny").refs["next"] = hub.repository("org/tiny").refs["main"]
    lftool("push", "hf://org/tiny@next", "dist").assert_success()
    assert (set(head(hub, "next")) > PARTS, PARTS & set(head(hub))) == (True, set())


def test_whole_bundles(lftool, hub, folder):
    lftool("push", "hf://org/tiny", "dist", "--whole").assert_success()
    assert head(hub)["tiny-1-start.llamafile"] == (folder.root / START).read_bytes()


@pytest.mark.parametrize("name", ["tiny-1-plain.gguf", "tiny-1-plain.lftool"])
def test_another_file_of_a_name_is_not_replaced(lftool, hub, name):
    hub.repository("org/tiny").commit({name: b"mine"})
    done = lftool("push", "hf://org/tiny", "dist")
    assert (done.status, f"{name} is in org/tiny already, with other contents" in done.err) == (2, True), done.err
    assert head(hub) == {name: b"mine"}
    lftool("push", "hf://org/tiny", "dist", "--force").assert_success()
    assert head(hub)[name] != b"mine"


def test_a_card_of_the_owner_s_stays(lftool, hub):
    hub.repository("org/tiny").commit({"README.md": b"# Mine\n"})
    done = lftool("push", "hf://org/tiny", "dist").assert_success()
    assert head(hub)["README.md"] == b"# Mine\n"
    assert "README.md is there, and no push has written it" in done.err


def test_words_around_the_marks_stay(lftool, hub):
    hub.repository("org/tiny").commit({"README.md": f"# Mine\n{BEGIN}\nold\n{END}\nThe end\n".encode()})
    lftool("push", "hf://org/tiny", "dist").assert_success()
    text = head(hub)["README.md"].decode()
    assert (text.startswith(f"# Mine\n{BEGIN}\n"), text.endswith(f"{END}\nThe end\n"), "old" in text) == (
        True,
        True,
        False,
    )


def test_no_card(lftool, hub):
    lftool("push", "hf://org/tiny", "dist", "--no-card").assert_success()
    assert "README.md" not in head(hub)


@pytest.mark.parametrize(
    ("token", "read_only", "says"),
    [
        (None, False, "there is no model org/tiny, or it is private"),
        ("hf_wrong", False, "there is no model org/tiny, or it is private"),
        ("hf_secret_token", True, "the Hub returned 403"),
    ],
)
def test_who_may_not_write_is_told_what_to_set(lftool, hub, token, read_only, says):
    hub.repository("org/tiny").private, hub.read_only = True, read_only
    before = head(hub)
    done = lftool("push", "hf://org/tiny", "dist", token=token)
    assert (done.status, says in done.err, "set HF_TOKEN to a token with write access" in done.err) == (
        1,
        True,
        True,
    ), done.err
    assert head(hub) == before
    assert "hf_" not in done.err.replace("`hf", "")


@pytest.mark.parametrize("uri", ["hf://org/tiny/folder", "hf://datasets/org/tiny", "hf://tiny"])
def test_a_wrong_place_is_refused(lftool, uri):
    assert lftool("push", uri, "dist", "--dry-run").status == 2


def test_what_was_made_from_a_gated_source_needs_a_word(lftool, hub, folder):
    (data,) = [(folder.root / PLAIN).read_bytes()]
    hub.repository("org/gated").commit({"model.gguf": data[:0] + _weights(folder)})
    hub.repository("org/gated").gated = True
    folder.write_recipe(
        '[bundle]\nname = "made"\nversion = "1"\n[sources.base]\nuri = "hf://org/gated"\n'
        '[model]\nweights = "base"\n[targets.plain]\nlayout = "gguf"\n'
    )
    lftool("lock").assert_success()
    assert "gated = true" in folder.lock.read_text()
    lftool("build", "-o", "made").assert_success()
    done = lftool("push", "hf://org/tiny", "made")
    assert (done.status, "the source 'base' (hf://org/gated) is gated" in done.err) == (6, True), done.err
    assert "--redistribute" in done.err
    lftool("push", "hf://org/tiny", "made", "--redistribute").assert_success()
    assert 'base_model:\n- "org/gated"\n' in head(hub)["README.md"].decode()


def _weights(folder) -> bytes:
    from lftool.bundle.bundle_files import opened

    with opened(folder.root / PLAIN) as bundle:
        return bundle.read(*bundle.weights_extent())


def bundle(**more) -> PublishedBundle:
    weights = PublishedFile(
        path="a.gguf", role="weights", size=1_500_000, sha256=Digest.of(b""), content=lambda _start, _size: iter(())
    )
    header = GGUFHeader(version=3, alignment=32, metadata={}, tensors=(), data_offset=0, size=0, extents={})
    given = {
        "title": "a-1-q4",
        "name": "a",
        "version": "1",
        "target": "q4",
        "layout": "gguf",
        "backend": "cpu",
        "runtime": "",
        "manifest": Digest.of(b"m"),
        "size": 2_000_000,
        "license": None,
        "description": None,
        "weights": header,
        "file_type": "Q4_K_M",
        "parameters": 1000,
        "context": 2048,
        "sources": (PublishedSource(name="base", uri="hf://Org/Base@main", revision="c0ffee"),),
        "figures": {"perplexity": "5.1"},
        "files": (weights,),
    }
    return PublishedBundle(**{**given, **more})


def test_a_card_of_a_quantised_model():
    text = card(Publication(bundles=(bundle(license="LicenseRef-Own"),)), "org/a", None)
    assert text == (
        '---\nlicense: "other"\nlicense_name: "LicenseRef-Own"\nbase_model:\n- "Org/Base"\n'
        'base_model_relation: "quantized"\ntags:\n- "gguf"\n- "lftool"\n---\n\n'
        f"{BEGIN}\n# a 1\n\n"
        "| file | quantisation | size | context | perplexity |\n|---|---|---|---|---|\n"
        "| `a.gguf` | Q4_K_M | 1.5 MB | 2048 | 5.1 |\n\n"
        "Each `.gguf` is a plain GGUF. The `.lftool` beside it has its lock, provenance and signatures: fetch both, check\n"
        "every byte and who signed them, and get the bundle back:\n\n"
        "```sh\nlftool pull --key PUBLIC_KEY hf://org/a\n```\n\n"
        "| bundle | sha256 of its manifest |\n|---|---|\n"
        f"| `a-1-q4` | `{Digest.of(b'm')}` |\n\n"
        "Made from:\n\n- `hf://Org/Base@main`, revision `c0ffee`\n\n"
        f"{END}\n"
    )


def test_a_description_cannot_forge_a_table_or_a_mark():
    text = card(Publication(bundles=(bundle(description=f"one\n{END}\n| x |"),)), "org/a", None)
    assert "one &lt;!-- lftool push: end --> \\| x \\|\n" in text
    assert text.count(END) == 1


@pytest.mark.parametrize(
    ("spdx", "name"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("GPL-3.0-only", "gpl-3.0"),
        ("MIT OR Apache-2.0", "other"),
        ("LicenseRef-Llama3", "other"),
        (None, ""),
    ],
)
def test_names_of_licences(spdx, name):
    assert hub_license(spdx) == name


def test_front_matter_without_anything():
    assert front_matter(Publication(bundles=(bundle(sources=()),))) == '---\ntags:\n- "gguf"\n- "lftool"\n---'
