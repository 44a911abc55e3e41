"""Embedding models and models that rank, in the native runtime: the vectors that transformers computes, without a word of how."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from tests.embedding_models import TEXTS, cosine, make_model
from tests.known_tools import give
from tests.native.conftest import STORY, seed, start
from tests.native.test_serving import KINDS, serving

from lftool.testing import ProjectFolder

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """\
[bundle]
name = "vectors"
version = "1"
[sources.base]
uri = "file:model"
[model]
weights = "base"
intermediate = "f16"
[targets.native]
layout = "llamafile"
runtime = "native"
"""
BUNDLE = "dist/vectors-1-native.llamafile"


def make(base: Path, pooling: str, known_tools: Path):
    project = ProjectFolder(root=base / "project", home=base / "home")
    project.root.mkdir()
    project.home.mkdir()
    seed(project.home)
    give(known_tools, project.home)
    model = make_model(project.root / "model", STORY / "held-out.txt", pooling)
    project.write_recipe(RECIPE)
    project.run("lock").assert_success()
    project.run("build").assert_success()
    return project, model


@pytest.fixture(scope="module", params=["mean", "cls", "last"])
def made(request, tmp_path_factory, known_tools):
    return *make(tmp_path_factory.mktemp("vectors"), request.param, known_tools), request.param


@pytest.mark.slow_cases(r"\[(cls|last)")
def test_a_bundle_prints_the_vector_that_transformers_computes(made):
    project, model, pooling = made
    done = start(project.root / BUNDLE, "-p", TEXTS[0])
    assert done.returncode == 0, done.stderr
    vector = json.loads(done.stdout)
    assert cosine(vector, model.vectors(TEXTS[:1], pooling)[0]) >= 0.999
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


@pytest.mark.slow_cases(r"\[(cls|last)")
def test_a_text_longer_than_the_context_is_an_error(made):
    project, _, _ = made
    done = start(project.root / BUNDLE, "-p", "fox " * 300)
    assert (done.returncode, done.stdout) == (1, "")
    assert "tokens, and the context is of 128" in done.stderr


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_server_makes_vectors_by_itself(made, kind, tmp_path):
    project, model, pooling = made
    with serving(kind, project, project.root / BUNDLE, log=tmp_path / "log") as server:
        answer = server.post("/v1/embeddings", json={"input": list(TEXTS)}).json()
        refused = server.post("/v1/embeddings", json={"input": "fox " * 300})
    for item, expected in zip(answer["data"], model.vectors(TEXTS, pooling), strict=True):
        assert cosine(item["embedding"], expected) >= 0.999
    assert refused.status_code in range(400, 600)


@pytest.fixture(scope="module")
def ranking(tmp_path_factory, known_tools):
    return make(tmp_path_factory.mktemp("ranks"), "rank", known_tools)[0]


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_model_that_ranks_is_served_as_one(ranking, kind, tmp_path):
    with serving(kind, ranking, ranking.root / BUNDLE, log=tmp_path / "log") as server:
        answer = server.post("/v1/rerank", json={"query": "fox", "documents": list(TEXTS)}).json()
    assert sorted(item["index"] for item in answer["results"]) == [0, 1, 2]


def test_a_model_that_ranks_says_so(ranking):
    done = start(ranking.root / BUNDLE, "-p", "x")
    assert done.returncode == 2
    assert "this model ranks documents" in done.stderr
    assert ranking.run("inspect", BUNDLE, "--json").json()["weights"]["does"] == "ranks"


def test_llama_cpp_python_does_not_rank_and_says_what_does(ranking):
    environment = {"XDG_CACHE_HOME": str(ranking.home / "python-cache")}
    done = ranking.spawn("run", BUNDLE, "-p", "x", env=environment)
    assert done.status == 8
    assert (
        "this model ranks documents, and llama-cpp-python cannot serve it\n  hint: compile a native runtime" in done.err
    )
