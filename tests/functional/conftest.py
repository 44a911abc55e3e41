"""Projects that several of these tests start from."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.known_tools import give

from lftool.testing import ProjectFolder, tiny_gguf

if TYPE_CHECKING:
    from pathlib import Path

QUANTIZED_RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.q8]
quantize = "Q8_0"
layout = "gguf"
"""


@pytest.fixture(scope="session")
def warm_project(tmp_path_factory, known_tools) -> ProjectFolder:
    """A locked project whose cache knows the tool's fingerprint and plan; copies of it start fast."""
    base = tmp_path_factory.mktemp("warm")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    give(known_tools, made.home)
    tiny_gguf(made.root / "model.gguf")
    made.write_recipe(QUANTIZED_RECIPE)
    made.run("lock").assert_success()
    return made


@pytest.fixture
def quantized_project(warm_project: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A locked project with one target, `q8`, quantised to Q8_0."""
    shutil.copytree(warm_project.root, tmp_path / "quantized")
    shutil.copytree(warm_project.home, tmp_path / "quantized-home")
    return ProjectFolder(root=tmp_path / "quantized", home=tmp_path / "quantized-home")


@pytest.fixture
def locked_project(plain_project: ProjectFolder) -> ProjectFolder:
    """`plain_project`, locked."""
    plain_project.run("lock").assert_success()
    return plain_project


def run_mounted(script: str, *arguments: object, project: ProjectFolder) -> subprocess.CompletedProcess[str]:
    """Run a shell script that mounts something, and ends with 97 if it cannot, in a mount namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *map(str, arguments)],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 97 or done.stderr.startswith("unshare:"):
        pytest.skip("mounting is not allowed here")
    return done
