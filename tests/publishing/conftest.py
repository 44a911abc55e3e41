"""Bundles to publish, and where to."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.sources.conftest import registry

from lftool.testing import ProjectFolder, large_model

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["registry"]

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
license = "Apache-2.0"
description = "A model for tests."

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.plain]
layout = "gguf"

[targets.start]
layout = "llamafile"

[run]
context = 64

[sign]
key = "file:release.key"
"""


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> ProjectFolder:
    """A built, signed project of two targets, whose weights are several chunks; never change it."""
    base = tmp_path_factory.mktemp("published")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    made.home.mkdir()
    (made.root / "model.gguf").write_bytes(large_model())
    made.write_recipe(RECIPE)
    made.run("keygen", "-o", "release").assert_success()
    made.run("keygen", "-o", "other").assert_success()
    made.run("lock").assert_success()
    made.run("build").assert_success()
    return made


@pytest.fixture
def folder(published: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A folder with the bundles in `dist`, on a machine that has nothing else of them."""
    made = ProjectFolder(root=tmp_path / "folder", home=tmp_path / "home")
    shutil.copytree(published.root / "dist", made.root / "dist")
    made.home.mkdir()
    for name in ("release.pub", "release.key", "other.pub"):
        shutil.copy(published.root / name, made.root / name)
    return made


@pytest.fixture
def host(registry) -> str:
    """A registry that lets everybody in: its host and port."""
    return urlsplit(registry().url).netloc
