"""`[model] template`, `[model.metadata]` and `[run] publish`: keys in the header of the weights, and a stage of their own."""

from __future__ import annotations

import hashlib
import io
import tomllib

import attrs
import pytest

from lftool.api.gguf import read_gguf
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header
from lftool.formats.gguf_edit import KeyEdit, edited_header
from lftool.testing import ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"
{model}
[targets.plain]
layout = "gguf"

[targets.q8]
quantize = "Q8_0"
layout = "llamafile"

[run]
context = 64
{run}
"""
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
MODEL = """\
template = "chat.jinja"
name = "Tiny"
author = "Somebody"
license = "apache-2.0"
tags = ["small", "story"]

[model.metadata]
remove = ["general.finetune"]

[model.metadata.set]
"general.url" = "https://example.com"
"example.level" = 3
"example.ratio" = { type = "f32", value = 0.25 }
"""
RUN = "temperature = 0.7\ntop_k = 40\nrepeat_penalty = 1.1\npublish = true\n"


@pytest.fixture
def project(tmp_path, known_tools) -> ProjectFolder:
    from tests.known_tools import give

    made = ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")
    made.root.mkdir()
    made.home.mkdir()
    give(known_tools, made.home)
    path = tiny_gguf(made.root / "model.gguf")
    data = path.read_bytes()
    header = read_gguf(io.BytesIO(data), len(data), "a model")
    edits = [KeyEdit(key="general.finetune", type="string", value="chat")]
    fresh = edited_header(header, lambda start, size: data[start : start + size], edits, ())
    path.write_bytes(fresh + data[header.data_offset :])
    (made.root / "chat.jinja").write_text(TEMPLATE)
    return made


def write(project, model: str = MODEL, run: str = RUN) -> None:
    project.write_recipe(RECIPE.format(model=model, run=run))


def built(project, model: str = MODEL, run: str = RUN):
    """The headers of the weights, by target."""
    write(project, model, run)
    project.run("lock").assert_success()
    project.run("build").assert_success()
    found = {}
    for target, suffix in (("plain", "gguf"), ("q8", "llamafile")):
        with opened(project.root / "dist" / f"tiny-1-{target}.{suffix}") as bundle:
            found[target] = weights_header(bundle)
    return found


def locked(project) -> dict:
    return tomllib.loads(project.lock.read_text())


def test_the_keys_are_in_every_target(project):
    for header in built(project).values():
        keys = header.metadata
        assert keys["tokenizer.chat_template"] == TEMPLATE
        assert (keys["general.name"], keys["general.author"], keys["general.license"]) == (
            "Tiny",
            "Somebody",
            "apache-2.0",
        )
        assert (keys["general.url"], keys["example.level"], keys["example.ratio"]) == ("https://example.com", 3, 0.25)
        assert "general.finetune" not in keys
        sampling = {key: value for key, value in keys.items() if key.startswith("general.sampling.")}
        assert sampling == {
            "general.sampling.temp": pytest.approx(0.7),
            "general.sampling.top_k": 40,
            "general.sampling.penalty_repeat": pytest.approx(1.1),
        }


def test_the_tensors_are_those_of_the_stage_before(project):
    after = built(project)
    before = built(project, "", "")
    for target in ("plain", "q8"):
        assert after[target].tensors == before[target].tensors
    assert project.run("fingerprint", "dist/tiny-1-plain.gguf").assert_success().out.partition(" ")[0]


def test_the_lock_names_action_template_and_output(project):
    headers = built(project)
    stage = locked(project)["targets"]["plain"]["metadata"]
    with opened(project.root / "dist" / "tiny-1-plain.gguf") as bundle:
        weights = bundle.manifest.weights
    assert headers["plain"]
    assert stage == {
        "semantics": "gguf-header/1",
        "template": hashlib.sha256(TEMPLATE.encode()).hexdigest(),
        "action": stage["action"],
        "sha256": weights.sha256.hex,
        "size": weights.size,
    }


def test_other_stages_keep_their_actions_and_nothing_set_has_no_stage(project):
    built(project, "", "")
    before = locked(project)["targets"]
    built(project)
    after = locked(project)["targets"]
    assert "metadata" not in before["q8"]
    assert after["q8"]["quantize"] == before["q8"]["quantize"]
    assert after["q8"]["pack"]["action"] != before["q8"]["pack"]["action"]


def test_a_build_elsewhere_makes_the_same_bytes(project, tmp_path, known_tools):
    from tests.known_tools import give

    built(project)
    other = attrs.evolve(project, home=tmp_path / "other")
    other.home.mkdir()
    give(known_tools, other.home)
    other.run("build", "--locked", "-o", "again").assert_success()
    for path in (project.root / "dist").iterdir():
        assert (project.root / "again" / path.name).read_bytes() == path.read_bytes()
    project.run("build", "--rebuild", "--locked").assert_success()
    project.run("verify", "dist", "--allow-unsigned", "--full").assert_success()
    done = project.run("rebuild", "dist", "--project", project.root).assert_success()
    assert done.out.count(": identical\n") == 2


def test_a_bundle_built_elsewhere_is_recorded(project):
    built(project)
    lock = locked(project)
    project.lock.unlink()
    project.run("lock").assert_success()
    project.run("lock", "--record", "dist/tiny-1-plain.gguf", "--record", "dist/tiny-1-q8.llamafile").assert_success()
    assert locked(project)["targets"] == lock["targets"]


def test_a_template_that_changes_makes_the_lock_stale(project):
    built(project)
    (project.root / "chat.jinja").write_text("{{ messages }}")
    assert project.run("build", "--locked").status == 4
    project.run("lock", "--upgrade", "template").assert_success()
    done = project.run("build", "--locked")
    assert done.status == 3


def test_plans_show_the_stage(project):
    write(project)
    project.run("lock").assert_success()
    done = project.run("build", "--dry-run").assert_success()
    assert " metadata  plain  11 keys set, 1 removed\n" in done.out


def test_a_value_that_is_stale(project):
    built(project)
    write(project, MODEL.replace("Somebody", "Another"))
    done = project.run("lock", "--check")
    assert (done.status, "model.author: 'Somebody' → 'Another'" in done.err) == (3, True), done.err


REFUSED = {
    "a key of the format": (
        '[model.metadata.set]\n"general.alignment" = 64',
        "general.alignment says what the tensors",
    ),
    "a vocabulary": (
        '[model.metadata]\nremove = ["tokenizer.ggml.tokens"]',
        "tokenizer.ggml.tokens says what the tensors",
    ),
    "part of a split file": ('[model.metadata.set]\n"split.count" = 2', "split.count says what the tensors"),
    "an unknown general key": (
        '[model.metadata.set]\n"general.nickname" = "x"',
        "general.nickname is no key that llama.cpp knows",
    ),
    "an unknown key of the architecture": (
        '[model.metadata.set]\n"llama.nickname" = "x"',
        "llama.nickname is no key of the architecture llama",
    ),
    "no dot": ('[model.metadata.set]\nnickname = "x"', "'nickname' is not a GGUF key"),
    "a wrong type": ('[model.metadata.set]\n"general.author" = 5', "5 is not a string"),
    "another type": (
        '[model.metadata.set]\n"general.author" = { type = "u32", value = 5 }',
        "it is of type string, not u32",
    ),
    "another type than the weights'": (
        '[model.metadata.set]\n"llama.context_length" = "long"',
        "llama.context_length: it is u32 in the weights, not string",
    ),
    "a real without a type": ('[model.metadata.set]\n"example.ratio" = 0.5', "its type does not follow from the value"),
    "no such type": ('[model.metadata.set]\n"example.ratio" = { type = "real", value = 0.5 }', "'real' is not a type"),
    "too large": ('[model.metadata.set]\n"example.n" = { type = "u8", value = 300 }', "300 does not fit into u8"),
    "an array of two types": (
        '[model.metadata.set]\n"example.n" = ["a", 1]',
        "its type does not follow from the value",
    ),
    "twice": ('name = "x"\n[model.metadata.set]\n"general.name" = "y"', "general.name is set by model.name as well"),
    "set and removed": ('name = "x"\n[model.metadata]\nremove = ["general.name"]', "general.name is set by model.name"),
    "not there": ('[model.metadata]\nremove = ["general.doi"]', "general.doi: the weights have no such key to remove"),
    "no template": ('template = "nothing.jinja"', "nothing.jinja"),
    "a template that does not compile": ('template = "bad.jinja"', "bad.jinja does not compile: TemplateSyntaxError"),
    "a template that is no text": ('template = "binary.jinja"', "is not UTF-8 text"),
    "outside the project": ('template = "../chat.jinja"', "../chat.jinja"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_set(project, kind):
    model, says = REFUSED[kind]
    (project.root / "bad.jinja").write_text("{% for x in %}")
    (project.root / "binary.jinja").write_bytes(b"\xff\xfe")
    (project.root.parent / "chat.jinja").write_text(TEMPLATE)
    write(project, f"{model}\n", "")
    done = project.run("lock")
    assert (done.status in {1, 2}, says in done.err) == (True, True), done.err
    assert not project.lock.exists()


def test_nothing_to_publish(project):
    write(project, "", "publish = true\n")
    done = project.run("lock")
    assert (done.status, "[run] has no sampling setting to publish" in done.err) == (2, True), done.err


def test_a_source_may_hold_the_template(project):
    (project.root / "templates").mkdir()
    (project.root / "templates" / "a.jinja").write_text(TEMPLATE)
    write(project, 'template = "chat"\n\n[sources.chat]\nuri = "file:templates"\ninclude = ["a.jinja"]\n', "")
    project.run("lock").assert_success()
    project.run("build").assert_success()
    assert locked(project)["targets"]["plain"]["metadata"]["template"] == hashlib.sha256(TEMPLATE.encode()).hexdigest()


def test_a_template_is_not_run_when_it_is_locked(project):
    """It is compiled in a process of its own, confined; text that would run takes no time."""
    (project.root / "chat.jinja").write_text("{% for i in range(10**9) %}{% endfor %}")
    write(project, 'template = "chat.jinja"\n', "")
    project.run("lock").assert_success()


def test_the_weights_are_a_gguf_that_other_readers_take(project):
    built(project)
    project.run("detach", "dist/tiny-1-q8.llamafile", "-o", "parts").assert_success()
    path = project.root / "parts" / "tiny-1-q8.gguf"
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, "weights")
    from gguf import GGUFReader

    reader = GGUFReader(path)
    assert len(reader.tensors) == len(header.tensors)
    assert str(reader.fields["tokenizer.chat_template"].contents()) == TEMPLATE


def test_inspect_shows_the_template(project):
    (project.root / "chat.jinja").write_text("You are always right.{{ messages }}")
    built(project)
    found = project.run("inspect", "dist/tiny-1-plain.gguf", "--json").assert_success().json()["template"]
    assert found == {
        "sha256": hashlib.sha256(b"You are always right.{{ messages }}").hexdigest(),
        "from_source": False,
        "lints": ["instructs by itself: 'You are always right.'"],
    }
    shown = project.run("inspect", "dist/tiny-1-plain.gguf").assert_success().out
    assert f"  template   the recipe's, sha256 {found['sha256'][:16]}…\n" in shown
    built(project, "", "")
    assert project.run("inspect", "dist/tiny-1-plain.gguf", "--json").assert_success().json()["template"] is None


def test_a_preset_has_the_run_contract(project):
    built(project, "", 'temperature = 0.5\ntop_k = 3\nsystem = "Be brief."\n')
    path = (project.root / "dist" / "tiny-1-plain.gguf").absolute()
    done = project.run("export", "preset", "dist/tiny-1-plain.gguf").assert_success()
    assert done.out == f"version = 1\n\n[tiny-1-plain]\nmodel = {path}\nctx-size = 64\ntemp = 0.5\ntop-k = 3\n"
    assert "llama-server has no argument for a system prompt" in done.err
    refused = project.run("export", "preset", "dist/tiny-1-q8.llamafile")
    assert (refused.status, "lftool detach" in refused.err) == (2, True)
    named = project.run("export", "preset", "dist/tiny-1-q8.llamafile", "--path", "/srv/a.gguf", "--section", "a:q8")
    assert named.assert_success().out.startswith("version = 1\n\n[a:q8]\nmodel = /srv/a.gguf\n")
    assert project.run("export", "preset", "dist/tiny-1-plain.gguf", "--section", "a]\nb").status == 2
