"""A preset that `lftool export preset` wrote, in llama.cpp's own server: compiled once from the sources of llama-cpp-python."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import httpx2
import pytest
from tests.real.conftest import MODELS

from lftool.testing import ProjectFolder

pytestmark = pytest.mark.slow
VERSION = "0.3.36"  # of llama-cpp-python
RECIPE = """\
[bundle]
name = "preset"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.file]
layout = "gguf"
[run]
context = 512
temperature = 0.0
max_tokens = 24
{run}
"""


@pytest.fixture(scope="session")
def llama_server(sdist):
    """llama-server; compiling takes some ten minutes, so it stays beside the real models."""
    kept = MODELS.parent / "llama-server" / VERSION / "llama-server"
    if not kept.exists():
        work = kept.parent.with_name(f"{VERSION}.work")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        with tarfile.open(sdist) as members:
            members.extractall(work, filter="data") if hasattr(tarfile, "data_filter") else members.extractall(work)
        (tree,) = work.glob("*/vendor/llama.cpp")
        off = (
            "GGML_NATIVE",
            "LLAMA_OPENSSL",
            "LLAMA_CURL",
            "BUILD_SHARED_LIBS",
            "LLAMA_BUILD_UI",
            "LLAMA_USE_PREBUILT_UI",
        )
        tools = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        options = [*(f"-D{name}=OFF" for name in off), "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_NUMBER=0"]
        for command in (
            ["cmake", "-S", tree, "-B", work / "build", "-G", "Ninja", *options],
            ["cmake", "--build", work / "build", "-j", "2", "--target", "llama-server"],
        ):
            subprocess.run(command, check=True, env=environment, capture_output=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(work / "build" / "bin" / "llama-server", kept)
        shutil.rmtree(work)
    return kept


@pytest.fixture
def project(models, tmp_path) -> ProjectFolder:
    made = ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")
    made.root.mkdir()
    made.home.mkdir()
    shutil.copy(next((models / "smollm2").glob("*.gguf")), made.root / "model.gguf")
    return made


@contextlib.contextmanager
def routed(server, preset, log):
    """Yield the address of a router with a preset."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [server, "--models-preset", preset, "--host", "127.0.0.1", "--port", str(port), "--models-max", "1"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def chat(url: str, text: str) -> str:
    asked = {"model": "preset-1-file", "messages": [{"role": "user", "content": text}]}
    done = httpx2.post(f"{url}/v1/chat/completions", json=asked, timeout=120, trust_env=False)
    assert done.status_code == 200, done.text
    return done.json()["choices"][0]["message"]["content"]


def preset(project, run: str):
    project.write_recipe(RECIPE.format(run=run))
    project.run("lock").assert_success()
    project.run("build").assert_success()
    path = project.root / "preset.ini"
    path.write_text(project.run("export", "preset", "dist/preset-1-file.gguf").assert_success().out)
    return path


def test_the_router_answers_as_the_contract_says(llama_server, project, tmp_path):
    path = preset(project, 'cache_type = "bf16"\nreasoning = "off"\n')
    here = project.spawn("run", "dist/preset-1-file.gguf", "-p", "Name a city in France.", "--engine", "xllamacpp")
    with routed(llama_server, path, tmp_path / "log") as url:
        assert chat(url, "Name a city in France.").strip() == here.assert_success().out.strip()


def test_the_router_starts_its_server_with_what_the_contract_says(llama_server, project, tmp_path):
    path = preset(project, 'cache_type = "q8_0"\nrope_scaling = "yarn"\nrope_scale = 1.5\nrope_freq_base = 100000\n')
    with routed(llama_server, path, tmp_path / "log") as url:
        assert chat(url, "Name a city in France.").strip()
        told = httpx2.get(f"{url}/models", trust_env=False).json()["data"]
    (arguments,) = [model["status"]["args"] for model in told if model["id"] == "preset-1-file"]
    given = ("--cache-type-k", "q8_0"), ("--cache-type-v", "q8_0"), ("--rope-scaling", "yarn"), ("--rope-scale", "1.5")
    for name, value in (*given, ("--rope-freq-base", "100000"), ("--n-predict", "24"), ("--ctx-size", "512")):
        assert arguments[arguments.index(name) + 1] == value


def test_the_router_holds_answers_to_a_grammar_of_one_line(llama_server, project, tmp_path):
    path = preset(project, 'grammar = \'root ::= "yes" | "no"\'\n')
    with routed(llama_server, path, tmp_path / "log") as url:
        assert chat(url, "Is Paris in France?") in {"yes", "no"}
