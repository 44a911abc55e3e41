"""A disk that is full while a transform writes: exit status 1, and said so, whatever a library makes of it."""

from __future__ import annotations

import shutil
import sys

import pytest
from tests.functional.conftest import run_mounted
from tests.plugins.test_join import split

from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "full"
version = "1"
[sources.base]
uri = "file:{source}"
[model]
weights = "base"
[targets.one]
layout = "gguf"
{more}
"""
# A disk of a few megabytes in a mount namespace of its own; it is gone with the process.
SCRIPT = """\
mount -t tmpfs -o size=$1 none "$2" || exit 97
shift 2
exec "$@"
"""


@pytest.fixture
def known_tools() -> None:
    """There is no cache before."""


@pytest.fixture
def on_a_small_disk(project):
    """Lock and build with a cache on a disk of 24 MB: on_a_small_disk() -> (status, error)."""
    cache = project.cache.parent
    cache.mkdir(parents=True)
    lftool = f"'{sys.executable}' -m lftool.cli.entry"

    def run() -> tuple[int, str]:
        done = run_mounted(SCRIPT, "24m", cache, "sh", "-c", f"{lftool} lock && {lftool} build", project=project)
        return done.returncode, done.stderr[done.stderr.index("error:") :]

    return run


def full(project, plugin: str) -> str:
    return (
        f"error: the disk is full: {plugin} ran out of space in {project.cache}/tmp\n"
        "  hint: free some space on that disk: `lftool cache gc` shrinks the cache, and XDG_CACHE_HOME moves it\n"
    )


@pytest.mark.parametrize(
    ("more", "plugin"),
    [
        ('quantize = "F32"', "plugin 'strict' of lftool-strict 0.1.0"),
        ('quantize = "F32"\nquantizer = "llama.cpp"', "plugin 'llamacpp' of lftool-llamacpp 0.1.0"),
    ],
    ids=["strict", "llama.cpp"],
)
def test_a_quantizer(project, on_a_small_disk, more, plugin):
    tiny_gguf(project.root / "model.gguf", layers=10)  # 9 MB, and 18 MB of F32
    project.write_recipe(RECIPE.format(source="model.gguf", more=more))
    assert on_a_small_disk() == (1, full(project, plugin))


def test_a_converter(project, tmp_path, on_a_small_disk):
    parts = split(tiny_gguf(tmp_path / "whole.gguf", layers=16), tmp_path / "parts", 5)  # 15 MB, and as much joined
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(RECIPE.format(source="parts", more=""))
    assert on_a_small_disk() == (1, full(project, "plugin 'builtin' of lftool 0.1.0"))
