"""`lftool plugins new`: a project that installs, passes its tests, and is a sound plugin."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from lftool.ops.plugin_project import KINDS


def python(*arguments: object, folder) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The first has most kinds; each kind alone is slow.
@pytest.mark.slow_cases(r"\[(?!source quantizer|check|exporter)")
@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS], ids=" ".join)
def test_a_new_plugin_passes_its_tests_at_once(lftool, tmp_path, kinds):
    wanted = [word for kind in kinds for word in ("--kind", kind)]
    lftool("plugins", "new", "my-shelf", *wanted, "--into", str(tmp_path)).assert_success()
    assert " passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path / "lftool-my-shelf")


def test_a_new_plugin_is_typed_strictly_and_lints(lftool, tmp_path):
    wanted = [word for kind in KINDS for word in ("--kind", kind)]
    lftool("plugins", "new", "my-shelf", *wanted, "--into", str(tmp_path)).assert_success()
    root = tmp_path / "lftool-my-shelf"
    assert python("-m", "mypy", "--strict", "src", "tests", folder=root).startswith("Success")
    python("-m", "ruff", "check", "--isolated", "--select", "E,F,I,B,UP", "--line-length", "130", ".", folder=root)


@pytest.mark.slow
def test_its_wheel_is_a_sound_plugin_whose_records_work(site, lftool, tmp_path):
    wanted = [word for kind in KINDS for word in ("--kind", kind)]
    lftool("plugins", "new", "my-shelf", *wanted, "--into", str(tmp_path)).assert_success()
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    python("-m", "pip", "wheel", *offline, "--wheel-dir", tmp_path, tmp_path / "lftool-my-shelf", folder=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site.root)

    assert lftool("plugins", "check", "my-shelf").assert_success().out == "1 plugin checked, 0 problems\n"
    shown = lftool("plugins", "show", "my-shelf", "--json").assert_success().json()["provides"]
    kinds = ["source", "quantizer", "layout", "observer", "check", "exporter", "command"]
    assert [offer["kind"] for offer in shown] == [*kinds, *["example"] * 3]
    tested = lftool("plugins", "test", "my-shelf", "--", "-k", "not a_fault_ends").assert_success()
    assert " passed" in tested.out


def test_a_folder_that_is_there_is_left_alone(lftool, tmp_path):
    (tmp_path / "lftool-shelf").mkdir()
    (tmp_path / "lftool-shelf" / "mine").write_text("mine")
    outcome = lftool("plugins", "new", "shelf", "--into", str(tmp_path))
    assert outcome.status == 2
    assert "already exists; nothing was written" in outcome.err
    assert [path.name for path in (tmp_path / "lftool-shelf").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", "Shelf", "my shelf", "../shelf", "shelf-", "9shelf", "my_shelf"])
def test_what_can_be_no_name_is_refused(lftool, tmp_path, name):
    outcome = lftool("plugins", "new", name, "--into", str(tmp_path))
    assert outcome.status == 2
    assert "is not a plugin name" in outcome.err
    assert list(tmp_path.glob("lftool-*")) == []
