"""`detached = true` on a target decides how files are written, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest

from lftool.testing import ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.plain]
layout = "gguf"
{detached}
[targets.start]
layout = "llamafile"
{detached}
[sign]
key = "file:release.key"
"""
FILES = {"plain": ("gguf", "lftool"), "start": ("gguf", "lftool", "runtime")}


@pytest.fixture
def project(tmp_path) -> ProjectFolder:
    """A project whose bundles are in `whole`; its recipe now says `detached = true`."""
    made = ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")
    made.root.mkdir()
    made.home.mkdir()
    tiny_gguf(made.root / "model.gguf")
    made.run("keygen", "-o", "release").assert_success()
    made.write_recipe(RECIPE.format(detached=""))
    made.run("lock").assert_success()
    made.run("build", "-o", "whole").assert_success()
    made.write_recipe(RECIPE.format(detached="detached = true\n"))
    return made


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_lock_stays(project):
    before = project.lock.read_bytes()
    project.run("lock", "--check").assert_success()
    project.run("build", "--locked").assert_success()
    assert project.lock.read_bytes() == before


def test_files_and_their_permissions(project):
    project.run("build").assert_success()
    names = {f"tiny-1-{target}.{suffix}" for target, suffixes in FILES.items() for suffix in suffixes}
    assert set(contents(project.root / "dist")) == names
    assert [path.name for path in (project.root / "dist").iterdir() if os.access(path, os.X_OK)] == [
        "tiny-1-start.runtime"
    ]


@pytest.mark.parametrize("signing", [(), ("--no-sign",)])
def test_they_are_what_detach_makes_of_the_bundle(project, signing):
    project.write_recipe(RECIPE.format(detached=""))
    project.run("build", "-o", "whole", *signing).assert_success()
    for name in ("tiny-1-plain.gguf", "tiny-1-start.llamafile"):
        project.run("detach", f"whole/{name}", "-o", "parts").assert_success()
    project.write_recipe(RECIPE.format(detached="detached = true\n"))
    project.run("build", *signing).assert_success()
    assert contents(project.root / "dist") == contents(project.root / "parts")


def test_the_digests_are_those_of_the_bundle(project):
    built = project.run("build", "--json").assert_success().json()["bundles"]
    whole = project.root / "whole"
    for item, name in zip(built, ("tiny-1-plain.gguf", "tiny-1-start.llamafile"), strict=True):
        assert item["sha256"] == hashlib.sha256((whole / name).read_bytes()).hexdigest()
        assert item["path"] == str(project.root / "dist" / f"{name.rpartition('.')[0]}.lftool")


def test_finished_files_are_not_written_again(project):
    project.run("build").assert_success()
    files = sorted((project.root / "dist").iterdir())
    for path in files:
        os.utime(path, ns=(time.time_ns(), time.time_ns() - 10**10))
    before = [path.stat().st_mtime_ns for path in files]
    project.run("build").assert_success()
    assert [path.stat().st_mtime_ns for path in files] == before


@pytest.mark.parametrize("name", ["tiny-1-plain.gguf", "tiny-1-start.runtime", "tiny-1-start.lftool"])
def test_a_damaged_file_is_written_again(project, name):
    project.run("build").assert_success()
    good, path = contents(project.root / "dist"), project.root / "dist" / name
    data = bytearray(good[name])
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    project.run("build").assert_success()
    assert contents(project.root / "dist") == good


def test_a_bundle_of_that_name_is_replaced(project):
    project.write_recipe(RECIPE.format(detached=""))
    project.run("build").assert_success()
    project.write_recipe(RECIPE.format(detached="detached = true\n"))
    project.run("build").assert_success()
    project.run("verify", "dist/tiny-1-plain.gguf", "--key", "release.pub").assert_success()
    project.run("attach", "dist/tiny-1-plain.lftool", "-o", "again").assert_success()
    assert (project.root / "again").read_bytes() == (project.root / "whole" / "tiny-1-plain.gguf").read_bytes()


def test_it_is_a_truth_value(project):
    project.write_recipe(RECIPE.format(detached='detached = "yes"\n'))
    done = project.run("lock", "--check")
    assert done.status == 2
    assert "$.targets.plain.detached" in done.err


def test_a_plan_names_the_sidecar(project):
    steps = json.loads(project.run("build", "--dry-run", "--json").assert_success().out)["steps"]
    assert {step["name"] for step in steps if step["stage"] == "pack"} == {"pack plain", "pack start"}
