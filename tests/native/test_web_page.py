"""`runtime = "native-ui"`: llama.cpp's web page in a bundle. Compiling it takes ten minutes, once: the machine's cache keeps it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from tests.native.conftest import CACHE, NAME, RECIPE, make_project
from tests.native.test_serving import KINDS, serving


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm builds the page, and is not here")
def test_a_bundle_serves_the_web_page_and_all_that_it_loads(tmp_path):
    recipe = RECIPE.partition("[targets.python]")[0].replace('"native"', '"native-ui"') + "[run]\ncontext = 512\n"
    project = make_project(tmp_path, recipe)
    environment = {**project.environment, "XDG_CACHE_HOME": str(CACHE.parent)}
    for step in ("lock", "build"):
        argv = [sys.executable, "-m", "lftool.cli.entry", step]
        subprocess.run(argv, cwd=project.root, env=environment, stdin=subprocess.DEVNULL, check=True)
    bundle = project.root / "dist" / NAME.format("native", "llamafile")

    with serving(KINDS[0], project, bundle, log=tmp_path / "log") as server:
        page = server.get("/")
        named = set(re.findall(r'(?:href|src|import)[=(]\s*"(?:\.)?(/_app/[^"]+)"', page.text))
        loaded = {name: server.get(name) for name in named}

    assert page.headers["content-type"].startswith("text/html")
    assert {name.rpartition(".")[2] for name in named} == {"js", "css"}
    assert [name for name, answer in loaded.items() if answer.status_code != 200 or not answer.content] == []
