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


def scores(ranking, kind: str, log: Path) -> list[float]:
    with serving(kind, ranking, ranking.root / BUNDLE, log=log) as server:
        answer = server.post("/v1/rerank", json={"query": "fox", "documents": list(TEXTS)}).json()
        one = server.post("/v1/rerank", json={"query": "fox", "documents": list(TEXTS), "top_n": 1}).json()
        refused = [
            server.post("/v1/rerank", json={"query": "fox", "documents": []}).status_code,
            server.post("/v1/rerank", json={"query": "fox", "documents": ["fox " * 300]}).status_code,
            server.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}]}).status_code,
        ]
    best = [item["relevance_score"] for item in answer["results"]]
    assert best == sorted(best, reverse=True)
    assert one["results"] == answer["results"][:1]
    assert all(status in range(400, 600) for status in refused), refused
    return [item["relevance_score"] for item in sorted(answer["results"], key=lambda item: item["index"])]


def test_both_servers_rank_alike(ranking, tmp_path):
    native, python = (scores(ranking, kind, tmp_path / "log") for kind in (KINDS[0], KINDS[2]))
    assert native == pytest.approx(python, abs=1e-3)


@pytest.mark.parametrize("cache", ["cache", "python-cache"])
def test_a_check_compares_the_scores_of_documents(ranking, cache, tmp_path):
    found = scores(ranking, KINDS[2], tmp_path / "log")
    places = sorted(range(3), key=lambda at: -found[at])

    def check(best: int, *others: int) -> str:
        texts = ", ".join(json.dumps(TEXTS[at]) for at in others)
        table = f'[[checks]]\nkind = "rerank"\nquery = "fox"\nbest = {json.dumps(TEXTS[best])}\nothers = [{texts}]\n'
        ranking.write_recipe(RECIPE + table)
        done = ranking.spawn("check", BUNDLE, env={"XDG_CACHE_HOME": str(ranking.home / cache)})
        return f"{done.status} {done.out}{done.err}"

    assert check(*places).startswith("0 ")
    failed = check(places[1], places[0])
    assert failed.startswith("6 "), failed
    assert "but the check needs a lead of 0" in failed


def test_a_model_that_ranks_says_so(ranking):
    done = start(ranking.root / BUNDLE, "-p", "x")
    assert done.returncode == 2
    assert "this model ranks documents" in done.stderr
    assert ranking.run("inspect", BUNDLE, "--json").json()["weights"]["does"] == "ranks"


def test_a_model_that_ranks_says_so_in_python_too(ranking):
    done = ranking.spawn("run", BUNDLE, "-p", "x", env={"XDG_CACHE_HOME": str(ranking.home / "python-cache")})
    assert done.status == 2
    assert "this model ranks documents; serve it, and ask /v1/rerank" in done.err
