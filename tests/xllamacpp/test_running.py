"""Models that xllamacpp runs: the answers of llama-cpp-python, in the same confinement, with nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.embedding_models import TEXTS, cosine
from tests.functional.test_embeddings import Q8
from tests.functional.test_embeddings import make_project as make_vectors
from tests.known_tools import give

from lftool.errors import UnavailableError
from lftool.host.registry import Registry
from lftool.testing import ProjectFolder
from lftool_xllamacpp.backend import XllamacppBackend
from lftool_xllamacpp.versions import versions

STORY = Path(__file__).parents[2] / "examples" / "tiny-story"
PROMPT = "Tell me a story about a fox."
RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.gguf]
layout = "gguf"
quantize = "Q4_K_M"
[targets.llamafile]
layout = "llamafile"
[run]
context = 256
temperature = 0.0
max_tokens = 40
seed = 3
"""
ENGINES = ("llama-cpp-python", "xllamacpp")


@pytest.fixture(scope="module")
def story(tmp_path_factory, known_tools) -> ProjectFolder:
    base = tmp_path_factory.mktemp("xllamacpp")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    give(known_tools, made.home)
    shutil.copy(STORY / "tiny-story-f16.gguf", made.root)
    made.write_recipe(RECIPE)
    made.spawn("lock").assert_success()
    made.spawn("build").assert_success()
    return made


def answers(project, *arguments: str, **more) -> list[str]:
    """What each engine answers, which must do so."""
    said = []
    for engine in ENGINES:
        done = project.spawn("run", "--engine", engine, *arguments, **more).assert_success()
        assert f"on the processor; {engine}" in done.err
        said.append(done.out)
    return said


@pytest.mark.parametrize(
    "options", [(), ("--raw",), ("--max-tokens", "3"), ("--system", "You tell sad stories.")], ids=" ".join
)
def test_both_engines_tell_the_same_story(story, options):
    first, second = answers(story, "dist/story-1-gguf.gguf", "-p", PROMPT, *options)
    assert first == second
    assert first.strip()


def test_a_plain_gguf_runs(story):
    first, second = answers(story, "tiny-story-f16.gguf", "-p", PROMPT, "--temperature", "0", "--max-tokens", "30")
    assert first == second


def test_chance_begins_at_the_seed(story):
    def told(seed: str) -> str:
        asked = ("dist/story-1-gguf.gguf", "-p", PROMPT, "--temperature", "1.5", "--seed", seed)
        return story.spawn("run", "--engine", "xllamacpp", *asked).assert_success().out

    assert told("7") == told("7")
    assert told("7") != told("8")


def test_a_prompt_that_is_too_long_is_said(story):
    done = story.spawn("run", "--engine", "xllamacpp", "dist/story-1-gguf.gguf", "-p", "fox " * 400)
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        "dist/story-1-gguf.gguf: the prompt has 408 tokens and the context 256, which leaves no room for an answer;"
        " use a larger --ctx"
    )


def test_a_bundle_that_begins_with_its_runtime_is_refused_with_the_way_on(story):
    done = story.spawn("run", "--engine", "xllamacpp", "dist/story-1-llamafile.llamafile", "-p", PROMPT)
    assert (done.status, done.out) == (8, "")
    assert done.err == (
        "error: xllamacpp loads files that begin with their weights; this bundle begins with its runtime, python/1\n"
        "  hint: start the bundle itself\n"
        "  hint: or use another engine: pip install 'lftool[cpu]'\n"
        '  hint: or build the target with layout = "gguf"\n'
    )


NOT_THERE = {
    "xllama": "error: no installed plugin has the engine 'xllama' for the backend cpu; there is: llama-cpp-python, xllamacpp\n"
    "  hint: see what there is: lftool backends\n",
    "native": "error: this machine has no native runtime for the backend cpu\n"
    "  hint: compile one: lftool runtime build\n"
    "  hint: or leave --engine out\n",
}


@pytest.mark.parametrize(("engine", "told"), NOT_THERE.items(), ids=NOT_THERE.keys())
def test_an_engine_that_is_not_there_is_said(story, engine, told):
    done = story.spawn("run", "--engine", engine, "dist/story-1-gguf.gguf", "-p", PROMPT)
    assert (done.status, done.out, done.err) == (8, "", told)


def wrong_model() -> bytes:
    """A model that says it has more blocks than it has."""
    weights = bytearray((STORY / "tiny-story-f16.gguf").read_bytes())
    at = weights.index(b"llama.block_count") + len("llama.block_count") + 4
    weights[at : at + 4] = (9).to_bytes(4, "little")
    return bytes(weights)


def test_what_is_no_model_has_the_engines_reason(story):
    (story.root / "wrong.gguf").write_bytes(wrong_model())
    done = story.spawn("run", "--engine", "xllamacpp", "wrong.gguf", "-p", PROMPT)
    assert done.status == 1
    assert done.err.splitlines()[-1] == (
        "wrong.gguf: llama.cpp cannot load the model: tensor 'blk.3.attn_norm.weight' not found"
    )


_LOAD = """\
import json, sys
from pathlib import Path
from lftool.api import FormatError, LoadRequest
from lftool_xllamacpp.backend import XllamacppBackend
try:
    print(json.dumps(XllamacppBackend().load(LoadRequest(weights=Path(sys.argv[1]))).tool))
except FormatError as error:
    print(json.dumps(str(error)))
"""
LOADED = {
    "tiny-story-f16.gguf": f"xllamacpp {versions()['xllamacpp']}",
    "wrong.gguf": "llama.cpp cannot load the weights: tensor 'blk.3.attn_norm.weight' not found",
}


@pytest.mark.parametrize(("model", "told"), LOADED.items(), ids=LOADED.keys())
def test_lock_tries_models_with_it(story, tmp_path, model, told):
    (story.root / "wrong.gguf").write_bytes(wrong_model())
    command = [sys.executable, "-c", _LOAD, story.root / model]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cache", ["c", "c" * 150], ids=["a short path", "a path too long for sockets"])
def test_no_socket_is_left_and_nobody_else_can_reach_one(story, tmp_path, cache):
    asked = ("run", "--engine", "xllamacpp", "dist/story-1-gguf.gguf", "-p", PROMPT)
    story.spawn(*asked, env={"XDG_CACHE_HOME": str(tmp_path / cache)}).assert_success()
    folder = tmp_path / cache / "lftool" / "running"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []


def test_what_a_process_that_was_killed_left_is_removed(story):
    folder = story.home / "cache" / "lftool" / "running"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "999999999-0.sock").touch()
    (folder / f"{os.getpid()}-9.sock").touch()
    story.spawn("run", "--engine", "xllamacpp", "dist/story-1-gguf.gguf", "-p", PROMPT).assert_success()
    assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}-9.sock"]
    (folder / f"{os.getpid()}-9.sock").unlink()


@pytest.fixture(scope="module")
def vectors(tmp_path_factory, repository, known_tools):
    project, _ = make_vectors(tmp_path_factory.mktemp("vectors"), repository, "mean", known_tools)
    project.spawn("lock").assert_success()
    project.spawn("build").assert_success()
    return project


def test_vectors_are_those_of_the_other_engine(vectors):
    for text in TEXTS:
        first, second = map(json.loads, answers(vectors, Q8, "-p", text))
        assert cosine(first, second) > 0.9999


def test_the_engine_whose_module_is_installed_is_used(monkeypatch):
    registry = Registry.discovered()
    assert registry.backend("cpu").record.engine == "llama-cpp-python"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "llama_cpp" else object())
    assert registry.backend("cpu").record.engine == "xllamacpp"


def test_a_machine_without_llama_cpp_python_locks_builds_checks_and_runs(story, tmp_path):
    """A module of that name that cannot be found, as where it is not installed."""
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'llama_cpp' else found(name, package)\n"
        "sys.modules['llama_cpp'] = None\n"
    )
    project = ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")
    project.root.mkdir()
    shutil.copy(STORY / "tiny-story-f16.gguf", project.root)
    check = '\n[[checks]]\nkind = "prompt"\nprompt = "Tell me a story."\ncontains = ["Once"]\ntargets = ["gguf"]\n'
    project.write_recipe(RECIPE + check)
    without = {"PYTHONPATH": str(tmp_path)}
    project.spawn("lock", env=without).assert_success()
    project.spawn("build", "gguf", env=without).assert_success()
    project.spawn("check", "dist/story-1-gguf.gguf", env=without).assert_success()
    done = project.spawn("run", "dist/story-1-gguf.gguf", "-p", PROMPT, env=without).assert_success()
    assert "xllamacpp" in done.err


def test_the_engine_and_its_llama_cpp_are_named(story):
    found = [item for item in story.spawn("backends", "--json").json()["backends"] if item["engine"] == "xllamacpp"]
    assert [item["versions"] for item in found] == [versions()]
    assert versions()["llama.cpp"].startswith("b")


def test_quality_needs_the_other_engine():
    with pytest.raises(UnavailableError, match="cannot measure"):
        XllamacppBackend().measure_several([], lambda *_: None)
