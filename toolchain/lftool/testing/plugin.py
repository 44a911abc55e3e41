"""pytest fixtures; opt in with `pytest_plugins = ["lftool.testing.plugin"]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lftool.testing.models import tiny_gguf
from lftool.testing.project_folder import ProjectFolder

if TYPE_CHECKING:
    from pathlib import Path

PLAIN_RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.plain]
layout = "gguf"
"""


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    """An empty project with its own cache and configuration."""
    root, home = tmp_path / "project", tmp_path / "home"
    root.mkdir()
    home.mkdir()
    return ProjectFolder(root=root, home=home)


@pytest.fixture
def plain_project(project: ProjectFolder) -> ProjectFolder:
    """A project with a small GGUF and one target that packs it as it is."""
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(PLAIN_RECIPE)
    return project
