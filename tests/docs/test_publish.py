"""The how-tos for publishing: their commands run in order, and print what the pages show."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.docs.test_check_a_model import RECIPE, STORY, steps
from tests.sources.conftest import registry

from lftool.testing import ProjectFolder
from lftool.testing.hub import HubServer

__all__ = ["registry"]

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ProjectFolder:
    """The folder of a reader, with two signed bundles."""
    base = tmp_path_factory.mktemp("reader")
    folder = ProjectFolder(root=base / "files", home=base / "home")
    folder.root.mkdir()
    folder.home.mkdir()
    recipe = RECIPE.replace('layout = "gguf"', 'layout = "llamafile"')
    recipe = recipe.replace('version = "1"', 'version = "1.0"')
    recipe += '\n[targets.q8]\nquantize = "Q8_0"\nlayout = "gguf"\n'
    (folder.root / "lftool.toml").write_text(recipe)
    shutil.copy(STORY, folder.root / "story-f16.gguf")
    for arguments in (("keygen", "-o", "release"), ("lock",), ("build",)):
        folder.run(*arguments).assert_success()
    return folder


@pytest.fixture
def folder(built: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A copy of it."""
    shutil.copytree(built.root, tmp_path / "files")
    shutil.copytree(built.home, tmp_path / "home")
    return ProjectFolder(root=tmp_path / "files", home=tmp_path / "home")


def walk(page: str, folder: ProjectFolder, place: tuple[str, str] = ("", ""), **variables: str) -> None:
    """Run the commands of a page, with a place on this machine for the one that it names."""
    for step in steps(PAGES / page):
        out = ""
        for command in step.commands:
            words = [word.replace(*place) if place[0] else word for word in shlex.split(command)]
            words = [sys.executable, "-m", "lftool.cli.entry", *words[1:]]
            done = subprocess.run(
                words,
                cwd=folder.root,
                env={**folder.environment, **variables},
                check=False,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, (command, done.stderr)
            out = done.stdout
        assert step.shown in {None, out}


def test_to_a_registry(folder: ProjectFolder, registry) -> None:
    walk("publish-to-a-registry.md", folder, ("registry.example.com", urlsplit(registry().url).netloc))
    assert (folder.root / "downloads" / "story-1.0-q4.llamafile").exists()


def test_to_the_hub(folder: ProjectFolder) -> None:
    with HubServer() as hub:
        hub.repository("your-name/story").commit({})
        walk("publish-to-the-hub.md", folder, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
    assert {path.name for path in (folder.root / "again").iterdir()} == {
        path.name for path in (folder.root / "dist").iterdir()
    }
