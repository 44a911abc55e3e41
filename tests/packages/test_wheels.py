"""Packages as people get them: what is in the wheels, and what their metadata promises."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

import lftool
from lftool.ops.help import topics

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

NAMES = ("lftool", "lftool_cuda", "lftool_hf", "lftool_llamacpp", "lftool_metal", "lftool_oci", "lftool_rocm", "lftool_s3", "lftool_strict", "lftool_xllamacpp")  # fmt: skip


@pytest.fixture(scope="session")
def wheels(repository: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Path]:
    """The wheels by import name; built by the first worker."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "wheels"
    shared.mkdir(exist_ok=True)
    with (shared / "mutex").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (shared / "said").exists():
            command = [sys.executable, "tools/wheels.py", shared / "dist"]
            done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
            (shared / "said").write_text(json.dumps([done.returncode, done.stdout + done.stderr]))
    status, said = json.loads((shared / "said").read_text())
    assert status == 0, said
    return {path.name.partition("-")[0]: path for path in (shared / "dist").glob("*.whl")}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return BytesParser().parsebytes(archive.read(name))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_two_folders_give_the_same_wheels(wheels):
    """`tools/wheels.py` builds twice and compares."""
    assert sorted(wheels) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_is_typed_licensed_and_says_who_made_it(wheels, name):
    found = metadata(wheels[name])
    assert f"{name}/py.typed" in names(wheels[name])
    assert any(path.endswith("/licenses/LICENSE") for path in names(wheels[name]))
    assert (found["License-Expression"], found["Author"], found["Version"]) == (
        "Apache-2.0",
        "The lftool authors",
        lftool.__version__,
    )
    assert found.get_all("Project-URL") is None
    assert "Typing :: Typed" in found.get_all("Classifier", [])


@pytest.mark.parametrize("name", NAMES)
def test_a_description_has_no_link_into_the_repository(wheels, name):
    text = metadata(wheels[name]).get_payload()
    assert re.findall(r"\]\((?!https?:)[^)]*\)|docs/[a-z-]+/", text) == []


@pytest.mark.parametrize("name", NAMES)
def test_extras_are_bounded_and_pin_nothing(wheels, name):
    """An upper bound keeps a release from breaking by itself; an exact pin keeps it from being installed beside others."""
    for line in metadata(wheels[name]).get_all("Requires-Dist", []):
        wanted = Requirement(line)
        operators = {item.operator for item in wanted.specifier}
        if wanted.marker is not None and "extra" in str(wanted.marker):
            assert operators & {"<", "<=", "~="}, line
            assert not operators & {"==", "==="}, line
        assert operators, line


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_holds_its_package_and_nothing_else(wheels, name):
    tops = {path.partition("/")[0] for path in names(wheels[name])}
    assert {top for top in tops if not top.endswith(".dist-info")} == {name}
    assert not [path for path in names(wheels[name]) if path.endswith((".pyc", ".so", ".o", ".gguf"))]


def test_every_page_of_help_is_in_the_wheel(wheels):
    shipped = {path for path in names(wheels["lftool"]) if path.startswith("lftool/pages/") and path.endswith(".md")}
    assert shipped == {f"lftool/pages/{topic.room}/{topic.name}.md" for topic in topics()}


def test_our_plugins_ask_for_this_lftool(wheels):
    for name in NAMES[1:]:
        wanted = [Requirement(line) for line in metadata(wheels[name]).get_all("Requires-Dist", [])]
        (ours,) = [item for item in wanted if item.name == "lftool"]
        assert ours.specifier.contains(lftool.__version__)


@pytest.mark.slow
def test_a_dry_release_has_everything_and_says_what_would_stop_it(repository, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        command = [sys.executable, "tools/release.py", folder]
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("nothing is signed, and nothing was uploaded\n")
    listed = (folders[0] / "SHA256SUMS").read_text()
    assert listed == (folders[1] / "SHA256SUMS").read_text()
    held = {line.split()[1] for line in listed.splitlines()}
    assert held == {path.name for path in folders[0].iterdir()} - {"SHA256SUMS"}
    assert {"lftool.cdx.json", f"lftool-{lftool.__version__}.tar.gz"} < held
    materials = json.loads((folders[0] / "lftool.cdx.json").read_text())
    assert [item["name"].replace("-", "_") for item in materials["components"]] == list(NAMES)
    assert "CHANGELOG.md calls 0.1.0 unreleased: write its date" in done.stdout


def test_a_final_release_is_stopped(repository, tmp_path):
    command = [sys.executable, "tools/release.py", tmp_path / "out", "--final"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, list((tmp_path / "out").iterdir())) == (1, [])
