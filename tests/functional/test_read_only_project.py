"""A project that cannot be written, as in a container's read-only mount: `-o` leads outside, and nothing else is needed."""

from __future__ import annotations

import shutil
import sys

import pytest
from tests.functional.conftest import run_mounted

# Read-only in a mount namespace of its own.
SCRIPT = """\
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 97
cd "$1"
shift
exec "$@"
"""


@pytest.fixture
def read_only(locked_project):
    """Run lftool where the locked project cannot be written: read_only(*arguments) -> (status, error)."""

    def run(*arguments: str) -> tuple[int, str]:
        command = (sys.executable, "-m", "lftool.cli.entry", *arguments)
        done = run_mounted(SCRIPT, locked_project.root, *command, project=locked_project)
        return done.returncode, done.stderr

    return run


def test_the_first_build_makes_bundles_and_says_that_the_lock_does_not_name_them(locked_project, read_only, tmp_path):
    before = locked_project.lock.read_bytes()

    status, error = read_only("build", "-o", str(tmp_path / "out"))

    bundle = tmp_path / "out" / "tiny-1-plain.gguf"
    assert (status, bundle.exists(), locked_project.lock.read_bytes()) == (0, True, before)
    assert (
        f"Read-only file system: lftool.lock does not name these outputs yet; to record them where it is writable: lftool lock --record {bundle}"
        in error.replace("\n", " ")
    )
    locked_project.run("lock", "--record", bundle).assert_success()
    locked_project.run("build", "--locked", "-o", tmp_path / "out").assert_success()


def test_a_build_with_outputs_in_the_lock_needs_no_more(locked_project, read_only, tmp_path):
    locked_project.run("build").assert_success()
    shutil.rmtree(locked_project.root / "dist")

    status, error = read_only("build", "-o", str(tmp_path / "out"))

    assert (status, "warning" in error) == (0, False)
    assert (tmp_path / "out" / "tiny-1-plain.gguf").exists()


def test_without_another_folder_it_says_which_cannot_be_written(read_only):
    status, error = read_only("build")

    assert status == 1
    assert error.endswith("/dist: Read-only file system\n  hint: the file system is read-only; choose another folder\n")
