"""The how-to for giving a model to other tools: its commands run in order, and print what the page shows."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.test_check_a_model import RECIPE, STORY, steps

from lftool.testing import ProjectFolder

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "give-to-other-tools.md"


@pytest.fixture
def given(tmp_path: Path) -> ProjectFolder:
    """The folder of a reader, with a signed bundle that begins with a runtime."""
    folder = ProjectFolder(root=tmp_path / "files", home=tmp_path / "home")
    folder.root.mkdir()
    folder.home.mkdir()
    (folder.root / "lftool.toml").write_text(RECIPE.replace('layout = "gguf"', 'layout = "llamafile"'))
    shutil.copy(STORY, folder.root / "story-f16.gguf")
    for arguments in (("keygen", "-o", "release"), ("lock",), ("build",)):
        folder.run(*arguments).assert_success()
    shutil.copy(next((folder.root / "dist").iterdir()), folder.root / "story.llamafile")
    return folder


def test_its_commands_print_what_it_shows(given: ProjectFolder) -> None:
    for step in steps(PAGE):
        out = ""
        for command in step.commands:
            words = shlex.split(command)
            if words[0] == "lftool":
                words = [sys.executable, "-m", "lftool.cli.entry", *words[1:]]
            done = subprocess.run(
                words, cwd=given.root, env=given.environment, check=False, capture_output=True, text=True
            )
            assert done.returncode == 0, (command, done.stderr)
            out = done.stdout
        assert step.shown in {None, out}
