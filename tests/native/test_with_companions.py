"""Adapters and projectors in native bundles: read where they lie, and copied to memory where llama.cpp leaves no other way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from tests.native.conftest import seed, start
from tests.native.test_serving import KINDS, serving
from tests.plugins.test_companions import RECIPE, STORY, VISION, safetensors_of, write_adapter, write_vision

from lftool.testing import ProjectFolder


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("companions")
    seed(home)
    return home


@pytest.fixture
def story(tmp_path, shared_home) -> ProjectFolder:
    """A project with tiny-story's safetensors, whose cache has the native runtime."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(STORY, root / "tiny-story")
    return ProjectFolder(root=root, home=shared_home)


pytestmark = pytest.mark.slow
NATIVE = '[targets.native]\nlayout = "llamafile"\nruntime = "native"\n'


def built(project, recipe: str) -> None:
    project.write_recipe(recipe)
    project.spawn("lock", timeout=300).assert_success()
    project.spawn("build", "--no-sign", timeout=300).assert_success()


def test_an_adapter_changes_the_answer_as_it_does_with_llama_cpp_python(story):
    write_adapter(story.root / "adapter")
    built(story, RECIPE.replace("[run]", f"{NATIVE}[run]"))
    native = story.root / "dist" / "story-1-native.llamafile"
    python = subprocess.run(
        [story.root / "dist" / "story-1-run.llamafile", "--raw", "-p", "One day"],
        env={**os.environ, "LFTOOL_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        check=True,
        capture_output=True,
        text=True,
    )
    assert start(native, "--raw", "-p", "One day").stdout == python.stdout


def test_an_adapter_of_another_model_is_refused_when_it_is_run(story):
    (story.root / "adapter").mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = safetensors_of({f"{name}.lora_A.weight": (4, 64), f"{name}.lora_B.weight": (64, 4)})
    (story.root / "adapter" / "adapter_model.safetensors").write_bytes(tensors)
    (story.root / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    built(story, RECIPE.replace("[run]", f"{NATIVE}[run]"))
    done = start(story.root / "dist" / "story-1-native.llamafile", "-p", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "llama.cpp does not take the LoRA adapter: it is for another model" in done.stderr


def test_a_projector_is_copied_to_memory_and_the_server_says_how_large_it_is(story, tmp_path):
    write_vision(story.root / "vision")
    built(story, VISION.replace("[targets.file]", f"{NATIVE}[targets.file]"))
    bundle = story.root / "dist" / "vision-1-native.llamafile"
    with serving(KINDS[0], story, bundle, log=tmp_path / "log") as server:
        (model,) = server.get("/v1/models").json()["models"]
        assert "multimodal" in model["capabilities"]
    log = (tmp_path / "log").read_text()
    assert "the projector is copied to memory: " in log
