"""Adapters and projectors in native bundles: read where they lie, and copied to memory where llama.cpp leaves no other way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.native.conftest import seed, start
from tests.native.test_serving import KINDS, serving
from tests.plugins.test_companions import RECIPE, STORY, VISION, write_adapter, write_vision

from lftool.testing import FaultProxy, FileServer, ProjectFolder


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


def test_a_projector_is_copied_to_memory_and_the_server_says_how_large_it_is(story, tmp_path):
    write_vision(story.root / "vision")
    built(story, VISION.replace("[targets.file]", f"{NATIVE}[targets.file]"))
    bundle = story.root / "dist" / "vision-1-native.llamafile"
    with serving(KINDS[0], story, bundle, log=tmp_path / "log") as server:
        (model,) = server.get("/v1/models").json()["models"]
        assert "multimodal" in model["capabilities"]
    log = (tmp_path / "log").read_text()
    assert "the projector is copied to memory: " in log


IMAGE = {"type": "image_url", "image_url": {"url": "{}/image.png"}}
ASKED = {
    "a chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": [IMAGE]}]}, ()),
    "an embedding": ("/v1/embeddings", {"input": [{"content": [IMAGE]}]}, ("--embeddings",)),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_server_that_sees_fetches_no_image(story, tmp_path, asked):
    path, body, options = ASKED[asked]
    write_vision(story.root / "vision")
    built(story, VISION.replace("[targets.file]", f"{NATIVE}[targets.file]"))
    bundle = story.root / "dist" / "vision-1-native.llamafile"
    with (
        FileServer(files={}) as files,
        FaultProxy(files.url) as elsewhere,
        serving(KINDS[0], story, bundle, *options, log=tmp_path / "log") as server,
    ):
        text = json.dumps(body).replace("{}", elsewhere.url)
        answer = server.post(path, content=text, headers={"Content-Type": "application/json"})
        assert (answer.status_code, "this server fetches nothing" in answer.text) == (400, True), answer.text
        assert elsewhere.requests == []
