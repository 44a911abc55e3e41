"""Embedding models, from a sentence-transformers folder to vectors: those that transformers computes, pooled as the model says."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from tests.embedding_models import TEXTS, cosine, make_model
from tests.known_tools import give

from lftool.ops.run.served_model import served
from lftool.store.store import Store
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
[targets.f16]
layout = "llamafile"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""
F16, Q8 = "dist/vectors-1-f16.llamafile", "dist/vectors-1-q8.gguf"


def make_project(base: Path, repository: Path, pooling: str, known_tools: Path):
    project = ProjectFolder(root=base / "project", home=base / "home")
    project.root.mkdir()
    give(known_tools, project.home)
    model = make_model(project.root / "model", repository / "examples" / "tiny-story" / "held-out.txt", pooling)
    project.write_recipe(RECIPE)
    return project, model


@pytest.fixture(scope="module", params=["mean", "cls"])
def made(request, tmp_path_factory, repository, known_tools):
    """A project whose bundles are built, its model, and how that pools."""
    project, model = make_project(tmp_path_factory.mktemp("vectors"), repository, request.param, known_tools)
    project.run("lock").assert_success()
    project.run("build").assert_success()
    return project, model, request.param


@pytest.fixture
def project(tmp_path, repository, known_tools):
    """One that is not locked yet."""
    return make_project(tmp_path, repository, "mean", known_tools)[0]


@pytest.mark.slow_cases(r"\[cls-")
@pytest.mark.parametrize("bundle", [F16, Q8])
def test_run_prints_the_vector_that_transformers_computes(made, bundle):
    project, model, pooling = made
    done = project.spawn("run", bundle, "-p", TEXTS[0]).assert_success()
    vector = json.loads(done.out)
    (expected,) = model.vectors(TEXTS[:1], pooling)
    assert cosine(vector, expected) >= 0.999
    assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


def test_other_pooling_is_another_vector(made):
    """Else the test above would show nothing."""
    _, model, _ = made
    mean, cls = (model.vectors(TEXTS[:1], pooling)[0] for pooling in ("mean", "cls"))
    assert cosine(mean, cls) < 0.98  # equal ones have 0.9999


def test_a_text_on_standard_input_is_made_a_vector(made):
    project, model, pooling = made
    vector = json.loads(project.spawn("run", Q8, stdin=TEXTS[1] + "\n").assert_success().out)
    assert cosine(vector, model.vectors(TEXTS[1:2], pooling)[0]) >= 0.999


def test_a_text_longer_than_the_context_is_an_error(made):
    project, _, _ = made
    done = project.spawn("run", Q8, "-p", "fox " * 300)
    assert (done.status, done.out) == (1, "")
    assert "tokens" in done.err


@contextlib.contextmanager
def server(project, monkeypatch, bundle: str):
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    with served(project.root / bundle, Store(project.cache), None) as model:
        yield model


@pytest.mark.parametrize("bundle", [F16, Q8])
def test_serve_makes_vectors_by_itself(made, monkeypatch, bundle):
    project, model, pooling = made
    with server(project, monkeypatch, bundle) as served_model:
        found = served_model.embed(TEXTS)
    for vector, expected in zip(found, model.vectors(TEXTS, pooling), strict=True):
        assert cosine(vector, expected) >= 0.999
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


def test_an_embedding_server_makes_no_text_and_says_so(made, monkeypatch):
    project, _, _ = made
    with server(project, monkeypatch, Q8) as model:
        answer = model._client.post("/v1/completions", json={"prompt": "x"})
        long = model._client.post("/v1/embeddings", json={"input": "fox " * 300})
        packed = model._client.post("/v1/embeddings", json={"input": TEXTS[0], "encoding_format": "base64"}).json()
        plain = model._client.post("/v1/embeddings", json={"input": TEXTS[0]}).json()
    assert (answer.status_code, "embeddings" in answer.json()["error"]["message"]) == (404, True)
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    unpacked = struct.unpack("<64f", base64.b64decode(packed["data"][0]["embedding"]))
    assert unpacked == pytest.approx(plain["data"][0]["embedding"])
    assert plain["usage"]["prompt_tokens"] > 2


def test_inspect_says_what_the_model_does(made):
    project, _, pooling = made
    weights = project.run("inspect", Q8, "--json").assert_success().json()["weights"]
    assert (weights["does"], weights["pooling"]) == ("embeds", pooling)
    assert f"text embedding, pooling {pooling}\n" in project.run("inspect", Q8).assert_success().out


def with_check(project, text: str) -> None:
    project.write_recipe(RECIPE + text)


@pytest.mark.parametrize(("least", "status"), [("0.99", 0), ("1.5", 2)])
def test_a_check_compares_the_vectors_of_two_texts(made, least, status):
    project, _, _ = made
    check = (
        f'[[checks]]\nkind = "embedding"\nprompt = "{TEXTS[0]}"\nsimilar_to = "{TEXTS[0]}"\nmin_similarity = {least}\n'
    )
    with_check(project, check)
    done = project.run("check", Q8)
    assert done.status == status, done
    with_check(project, "")


def test_a_check_that_does_not_hold_names_the_similarity(made):
    project, model, pooling = made
    one, other = model.vectors(TEXTS[:2], pooling)
    check = (
        f'[[checks]]\nkind = "embedding"\nprompt = "{TEXTS[0]}"\nsimilar_to = "{TEXTS[1]}"\nmin_similarity = 0.9999\n'
    )
    with_check(project, check)
    done = project.run("check", F16)
    with_check(project, "")
    assert done.status == 6, done
    assert f"is {cosine(one, other):.2f}" in done.out + done.err


@pytest.mark.parametrize(
    "check",
    ['kind = "prompt"\nprompt = "x"\ncontains = ["y"]', 'kind = "time-to-first-token"\nprompt = "x"\nmax_seconds = 1'],
    ids=["prompt", "first token"],
)
def test_a_check_that_asks_for_text_is_an_error(made, check):
    project, _, _ = made
    with_check(project, f"[[checks]]\n{check}\n")
    done = project.run("check", Q8)
    with_check(project, "")
    assert done.status == 8, done
    assert "needs a model that generates text, but this one embeds text" in done.out


def test_quality_is_the_cosine_to_the_unquantised_vectors(made):
    project, _, _ = made
    (project.root / "texts.txt").write_text("\n\n".join(TEXTS))
    plain = project.run("quality", "q8", "--text", "texts.txt", "--json").assert_success().json()
    assert plain["texts"] == "3"
    assert 0.99 < float(plain["cosine"]["least"]) <= float(plain["cosine"]["mean"]) <= 1.0
    again = project.run("quality", "q8", "--text", "texts.txt").assert_success().out
    assert "q8: 3 lines of texts.txt embedded" in again
    assert f"least {plain['cosine']['least']}" in again


def test_a_statement_of_quality_is_signed_and_verified(project):
    project.run("keygen", "-o", "release").assert_success()
    project.write_recipe(RECIPE + '[sign]\nkey = "file:release.key"\n')
    (project.root / "texts.txt").write_text("\n".join(TEXTS))
    project.run("lock").assert_success()
    project.run("quality", "q8", "--text", "texts.txt").assert_success()
    statement = "dist/vectors-1-q8.quality.sigstore.json"
    done = project.run("verify", Q8, "--key", "release.pub", "--quality", statement).assert_success()
    assert "cosine to the unquantised embeddings of texts.txt: mean 0.99" in done.out


def test_a_pooling_module_that_is_left_out_is_named(project):
    project.write_recipe(RECIPE.replace('uri = "file:model"', 'uri = "file:model"\nexclude = ["1_Pooling/**"]'))
    done = project.run("lock")
    assert done.status == 2, done
    assert "modules.json names the module '1_Pooling', but 1_Pooling/config.json is not included" in done.err


def test_modules_that_are_left_out_are_named(project):
    project.write_recipe(RECIPE.replace('uri = "file:model"', 'uri = "file:model"\nexclude = ["modules.json"]'))
    done = project.run("lock")
    assert done.status == 2, done
    assert "1_Pooling/config.json defines the pooling, but modules.json is not included" in done.err


def test_a_model_without_modules_is_pooled_by_the_mean_and_that_is_said(project):
    shutil.rmtree(project.root / "model" / "1_Pooling")
    (project.root / "model" / "modules.json").unlink()
    done = project.run("lock").assert_success()
    assert "does not define its pooling" in done.err
