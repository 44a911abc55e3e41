"""SmolLM2, Gemma 3 270M and MiniLM: built, verified, run, served and checked as a user would."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.embedding_models import TEXTS, cosine

from lftool.ops.run.served_model import Question, served
from lftool.store.store import Store
from lftool.testing import ProjectFolder

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
CHAT = """\
[bundle]
name = "real"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.whole]
layout = "llamafile"
[targets.file]
layout = "gguf"
[run]
context = 512
temperature = 0
max_tokens = 24
[[checks]]
kind = "regex"
prompt = "What is the capital of France? Answer in one word."
matches = "[A-Za-z]+"
[sign]
key = "file:release.key"
"""
EMBED = """\
[bundle]
name = "real"
version = "1"
[sources.base]
uri = "file:model"
[model]
weights = "base"
intermediate = "f16"
[targets.f16]
layout = "llamafile"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
[[checks]]
kind = "embedding"
prompt = "A fox walked into the woods."
similar_to = "A fox went to the forest."
min_similarity = 0.7
[sign]
key = "file:release.key"
"""
PROMPT = "What is the capital of France?"


def make(base: Path, recipe: str) -> ProjectFolder:
    project = ProjectFolder(root=base / "project", home=base / "home")
    project.root.mkdir()
    project.home.mkdir()
    project.run("keygen", "-o", "release").assert_success()
    project.write_recipe(recipe)
    return project


def build(project: ProjectFolder) -> list[str]:
    """Lock, build, verify and check; return the bundles."""
    project.spawn("lock", timeout=300).assert_success()
    project.spawn("build", timeout=300).assert_success()
    bundles = [f"dist/{path.name}" for path in sorted((project.root / "dist").iterdir())]
    for bundle in bundles:
        project.spawn("verify", bundle, "--key", "release.pub", "--full").assert_success()
    project.spawn("check", *bundles, timeout=600).assert_success()
    return bundles


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def chatting(request, models, tmp_path_factory):
    project = make(tmp_path_factory.mktemp(request.param), CHAT)
    shutil.copy(models / request.param / f"{request.param}.gguf", project.root / "model.gguf")
    return project, build(project)


def test_a_chat_model_says_what_llama_cpp_python_says(chatting):
    import llama_cpp

    project, bundles = chatting
    model = llama_cpp.Llama(str(project.root / "model.gguf"), n_ctx=512, verbose=False)
    completed = model.create_completion(PROMPT, max_tokens=24, temperature=0, repeat_penalty=1.0)
    expected = completed["choices"][0]["text"]
    said = {project.spawn("run", bundle, "-p", PROMPT, "--raw").assert_success().out for bundle in bundles}
    assert len(said) == 1
    assert said.pop().split()[:4] == expected.split()[:4]


def test_a_chat_model_is_served(chatting, monkeypatch):
    project, bundles = chatting
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    answers = set()
    for bundle in bundles:
        with served(project.root / bundle, Store(project.cache), None) as model:
            answers.add(model.ask(Question(prompt=PROMPT)))
    assert len(answers) == 1
    assert len(answers.pop()) > 8


def transformers_vectors(folder: Path, pooling: str) -> list[list[float]]:
    """Return the vectors that transformers computes, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    made = []
    for text in TEXTS:
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vector = states.mean(0) if pooling == "mean" else states[0]
        made.append(torch.nn.functional.normalize(vector, dim=0).tolist())
    return made


@pytest.fixture(scope="module", params=["mean", "cls"])
def embedding(request, models, tmp_path_factory):
    project = make(tmp_path_factory.mktemp(request.param), EMBED)
    shutil.copytree(models / "minilm", project.root / "model")
    pooling = project.root / "model" / "1_Pooling" / "config.json"
    said = json.loads(pooling.read_text())
    said |= {"pooling_mode_mean_tokens": request.param == "mean", "pooling_mode_cls_token": request.param == "cls"}
    pooling.write_text(json.dumps(said))
    if request.param == "cls":  # the model was not trained for it: similar texts need not be close
        project.write_recipe(EMBED.replace("min_similarity = 0.7", "min_similarity = 0.1"))
    return project, build(project), transformers_vectors(project.root / "model", request.param)


def test_an_embedding_model_has_the_vectors_of_transformers(embedding, monkeypatch):
    project, bundles, expected = embedding
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    for bundle in bundles:
        printed = json.loads(project.spawn("run", bundle, "-p", TEXTS[0]).assert_success().out)
        assert cosine(printed, expected[0]) >= 0.999
        with served(project.root / bundle, Store(project.cache), None) as model:
            found = model.embed(TEXTS)
        # A single word has few tokens to make up for the rounding of Q8_0; sentences are held to 0.999.
        least = [0.999, 0.999, 0.997 if "q8" in bundle else 0.999]
        found_to = [cosine(vector, other) for vector, other in zip(found, expected, strict=True)]
        assert [value >= most for value, most in zip(found_to, least, strict=True)] == [True] * 3, found_to
