"""What no engine loads is not locked: vocabulary and tensors are tried first, and llama.cpp's own reason is passed on."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from tests.plugins.test_join import split

from lftool.formats.gguf_read import read_gguf
from lftool.formats.gguf_write import copied_header, metadata_entry
from lftool.testing import ProjectFolder, tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"
VOCABULARY = "tokenizer.ggml.tokens"
NORM = "blk.0.attn_norm.weight"
FAILED = "error: source 'base': llama.cpp cannot load the weights: "
HINT = "  hint: if another engine can load it, lock without trying: LFTOOL_LOAD=0 lftool lock\n"


def changed(path: Path, *, without: str | None = None, entries: Mapping[str, str | int | None] | None = None) -> None:
    """Change a GGUF in place: leave out its last tensor, `without`, and give it other metadata; None takes a key away."""
    data = path.read_bytes()
    with path.open("rb") as file:
        header = read_gguf(file, len(data), "weights")
    changes = dict(entries or {})
    kept = [data[begin:end] for key, (begin, end) in header.extents.items() if key not in changes]
    kept += [metadata_entry(key, value) for key, value in changes.items() if value is not None]
    tensors = header.tensors
    body = data[header.data_offset :]
    if without is not None:
        left = next(tensor for tensor in tensors if tensor.name == without)
        size = header.alignment * -(-left.size // header.alignment)
        body = body[: left.offset] + body[left.offset + size :]
        tensors = tuple(
            attrs.evolve(tensor, offset=tensor.offset - size) if tensor.offset > left.offset else tensor
            for tensor in tensors
            if tensor is not left
        )
    path.write_bytes(copied_header(kept, tensors, header.alignment) + body)


@pytest.fixture
def loading(plain_project) -> ProjectFolder:
    return attrs.evolve(plain_project, loads=True)


def test_a_model_that_loads_is_locked_without_a_word(loading):
    done = loading.run("lock")
    assert (done.status, done.err) == (0, "wrote lftool.lock\n")


def test_a_model_without_one_of_its_tensors_is_not_locked(loading):
    changed(loading.root / "model.gguf", without=NORM)
    done = loading.run("lock")
    assert (done.status, done.err) == (
        4,
        f"{FAILED}tensor '{NORM}' not found\n{HINT}",
    )
    assert not loading.lock.exists()


def test_a_model_without_its_vocabulary_is_not_locked(loading):
    shutil.copyfile(STORY, loading.root / "model.gguf")
    changed(loading.root / "model.gguf", entries={VOCABULARY: None})
    done = loading.run("lock")
    assert (done.status, done.err) == (
        4,
        f"{FAILED}error loading model vocabulary: cannot find tokenizer vocab in model file\n{HINT}",
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0]['content'", "does not compile: unexpected end of template"),
        ("no-such-name", "is 'no-such-name': neither a template, nor a name that llama.cpp knows"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_a_warning(loading, template, said):
    changed(loading.root / "model.gguf", entries={"tokenizer.chat_template": template})
    for _ in range(2):  # what is known of weights that were tried is said again
        done = loading.run("lock").assert_success()
        assert f"warning  source 'base': the chat template {said}" in done.err
        assert "bundles will complete text (--raw), but not chat\n" in done.err
        loading.lock.unlink()


@pytest.mark.parametrize("template", ["chatml", "{% for m in messages %}{{ m.content }}{% endfor %}"])
def test_a_chat_template_that_can_be_used_is_not_mentioned(loading, template):
    changed(loading.root / "model.gguf", entries={"tokenizer.chat_template": template})
    assert loading.run("lock").err == "wrote lftool.lock\n"


def test_a_model_whose_embedding_is_of_another_vocabulary_is_not_locked(loading):
    changed(loading.root / "model.gguf", entries={"llama.vocab_size": 31})
    done = loading.run("lock")
    assert (done.status, done.err.splitlines()[0]) == (
        4,
        f"{FAILED}tensor 'token_embd.weight' has wrong shape; expected     32,     31, got     32,     32,      1,      1",
    )


def test_weights_that_are_kept_nowhere_are_tried_too(project, tmp_path):
    whole = tiny_gguf(tmp_path / "whole.gguf", layers=2)
    changed(whole, without=NORM)
    parts = split(whole, tmp_path / "parts", 5)
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(
        '[bundle]\nname = "s"\nversion = "1"\n[sources.base]\nuri = "file:parts"\n[model]\nweights = "base"\n'
        '[targets.q8]\nlayout = "gguf"\nquantize = "Q8_0"\n'
    )
    done = attrs.evolve(project, loads=True).run("lock")
    assert (done.status, done.err.splitlines()[-2]) == (
        4,
        f"{FAILED}tensor '{NORM}' not found",
    )
    assert not project.lock.exists()


def test_who_wants_another_engine_switches_it_off(loading):
    changed(loading.root / "model.gguf", without=NORM)
    done = attrs.evolve(loading, loads=False).run("lock")
    assert (done.status, done.err) == (0, "wrote lftool.lock\n")


def test_nothing_of_it_enters_the_lock(loading):
    loading.run("lock").assert_success()
    tried = loading.lock.read_bytes()
    loading.lock.unlink()
    attrs.evolve(loading, loads=False).run("lock").assert_success()
    assert loading.lock.read_bytes() == tried


def test_without_a_plugin_that_has_an_engine_it_is_said_that_nothing_was_tried(loading):
    done = loading.run("--no-plugins", "lock")
    assert (done.status, done.err) == (
        0,
        "     note  did not try loading the model: no installed plugin has an engine\nwrote lftool.lock\n",
    )


def test_without_the_engine_itself_it_is_said_that_nothing_was_tried(loading):
    """As on a machine with the plugin and without llama-cpp-python: the plugin looks for it, and imports nothing."""
    from lftool.api import LoadRequest
    from lftool.errors import UnavailableError
    from lftool_llamacpp.backend import CPUBackend

    found = importlib.util.find_spec
    try:
        importlib.util.find_spec = lambda name: None if name == "llama_cpp" else found(name)
        with pytest.raises(UnavailableError, match="llama-cpp-python is not installed"):
            CPUBackend().load(LoadRequest(weights=loading.root / "model.gguf"))
    finally:
        importlib.util.find_spec = found


def test_it_is_tried_once(loading):
    loading.run("lock").assert_success()
    again = loading.run("lock")
    assert (again.status, again.err) == (0, "lftool.lock is unchanged\n")
    reports = [path for path in (loading.cache / "cas-v1").glob("*/*") if b'"context_bytes"' in path.read_bytes()]
    assert len(reports) == 1


def test_a_context_that_this_machine_can_never_hold_is_named(loading):
    with loading.recipe.open("a") as file:
        file.write("[run]\ncontext = 2000000000\n")
    done = loading.run("lock")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert done.status == 0
    assert done.err.startswith("  warning  [run] context, 2000000000 tokens, takes 2304.8 GB of memory")
    assert f"this machine has {memory / 1e9:.1f} GB: bundles will not run here; choose a smaller one\n" in done.err


LLAMAFILE = """\
[bundle]
name = "broken"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.one]
layout = "llamafile"
"""
BUNDLE = "dist/broken-1-one.llamafile"


def built(project: ProjectFolder, run: str = "") -> ProjectFolder:
    """Return a project with a bundle that was locked without trying."""
    project.write_recipe(LLAMAFILE + run)
    project.run("lock").assert_success()
    project.run("build").assert_success()
    return project


def test_run_says_what_llama_cpp_says_of_a_model_that_it_does_not_load(project):
    shutil.copyfile(STORY, project.root / "model.gguf")
    changed(project.root / "model.gguf", without=NORM)
    done = built(project).spawn("run", BUNDLE, "-p", "Hi")
    assert (done.status, done.err.splitlines()[-1]) == (
        1,
        f"{BUNDLE}: llama.cpp cannot load the model: tensor '{NORM}' not found",
    )


NEWER = {"general.architecture": "later", "later.block_count": 1}


def test_a_model_that_is_newer_than_the_engine_is_not_locked_and_the_hint_says_so(loading):
    changed(loading.root / "model.gguf", entries=NEWER)
    done = loading.run("lock")
    hint = (
        f"  hint: the model may be newer than llama-cpp-python {version('llama-cpp-python')}: lftool runtime outdated\n"
    )
    assert (done.status, done.err) == (4, f"{FAILED}unknown model architecture: 'later'\n{hint}{HINT}")


@pytest.mark.parametrize("engine", ["llama-cpp-python", "xllamacpp"])
def test_run_says_that_the_engine_may_be_older_than_the_model(project, engine):
    shutil.copyfile(STORY, project.root / "model.gguf")
    changed(project.root / "model.gguf", entries=NEWER)
    done = project.spawn("run", "--engine", engine, "model.gguf", "-p", "Hi")
    said = "model.gguf: llama.cpp cannot load the model: unknown model architecture: 'later'"
    told = f"{said}; {engine} {version(engine)} may be older than the model"
    assert (done.status, done.err.splitlines()[-1]) == (1, told)


def test_run_names_the_context_that_takes_more_memory_than_there_is(project):
    shutil.copyfile(STORY, project.root / "model.gguf")
    built(project, "[run]\ncontext = 3000000\n")
    bounded = 'ulimit -v 6000000; exec "$0" -m lftool.cli.entry run "$1" -p Hi'
    done = subprocess.run(
        ["sh", "-c", bounded, sys.executable, BUNDLE],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"{BUNDLE}: llama.cpp cannot make a context of 3000000 tokens ([run] context): allocating 55.3 GB of memory in one piece failed",
    )
