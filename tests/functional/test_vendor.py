"""`lftool vendor` and `build --vendor`: a locked build on a machine without a network."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from lftool.models.digest import Digest
from lftool.testing import FileServer
from lftool.testing.source_kit import BUNDLE, RECIPE, large_model


@pytest.fixture
def remote(project):
    """A built project whose source is behind a URL that is gone now."""
    with FileServer(files={"/model.gguf": large_model()}) as server:
        project.write_recipe(RECIPE.format(uri=f"{server.url}/model.gguf", options=""))
        project.run("lock").assert_success()
        project.run("build").assert_success()
    return project


def elsewhere(project) -> dict[str, str]:
    """The variables of a machine with an empty cache."""
    return {"XDG_CACHE_HOME": str(project.home / "elsewhere")}


@pytest.mark.parametrize("name", ["vendor", "vendor.tar.zst"])
def test_a_locked_build_needs_nothing_but_what_was_vendored(remote, name):
    before = (remote.root / BUNDLE).read_bytes()
    made = remote.run("vendor", name).assert_success()
    (remote.root / BUNDLE).unlink()

    remote.run("build", "--frozen", "--vendor", name, env=elsewhere(remote)).assert_success()

    size = len(large_model()) / 1e6
    assert made.err.splitlines()[-1] == f"{name}: 1 files, {size:.1f} MB; build from it: lftool build --vendor {name}"
    assert (remote.root / BUNDLE).read_bytes() == before


def test_it_works_in_a_network_namespace_without_interfaces(remote):
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system grants no network namespace")
    remote.run("vendor", "v.tar.zst").assert_success()
    command = ["unshare", "-n", sys.executable, "-m", "lftool.cli.entry", "build", "--locked", "--vendor", "v.tar.zst"]

    done = subprocess.run(
        command, cwd=remote.root, env={**remote.environment, **elsewhere(remote)}, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_archive_is_the_same_every_time(remote):
    remote.run("vendor", "a.tar.zst").assert_success()
    remote.run("vendor", "b.tar.zst", env={"TZ": "Asia/Tokyo"}).assert_success()

    digests = {hashlib.sha256((remote.root / name).read_bytes()).hexdigest() for name in ("a.tar.zst", "b.tar.zst")}
    assert len(digests) == 1


def test_vendoring_again_into_a_folder_writes_nothing(remote):
    remote.run("vendor", "v").assert_success()
    (file,) = (path for path in (remote.root / "v").rglob("*") if path.is_file())
    before = file.stat().st_mtime_ns

    remote.run("vendor", "v").assert_success()

    assert file.stat().st_mtime_ns == before
    assert file.read_bytes() == large_model()


def test_a_vendored_file_that_is_not_what_its_name_says_is_exit_4(remote):
    remote.run("vendor", "v").assert_success()
    (file,) = (path for path in (remote.root / "v").rglob("*") if path.is_file())
    file.chmod(0o644)
    file.write_bytes(large_model()[:-1] + b"\x01")

    done = remote.run("build", "--frozen", "--vendor", "v", env=elsewhere(remote))

    sha256, size = Digest.of(large_model()), len(large_model())
    assert done.status == 4
    assert done.err == (
        f"error: v: cas-v1/{sha256.hex[:2]}/{sha256.hex[2:]}: expected sha256 {sha256} ({size} bytes),"
        f" got {Digest.of(file.read_bytes())} ({size} bytes)\n"
    )


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_an_archive_that_is_cut_off_is_exit_4(remote, keep):
    remote.run("vendor", "v.tar.zst").assert_success()
    path = remote.root / "v.tar.zst"
    path.write_bytes(path.read_bytes()[:keep])

    done = remote.run("build", "--frozen", "--vendor", "v.tar.zst", env=elsewhere(remote))

    assert done.status == 4
    assert done.err.startswith("error: v.tar.zst is not an archive from `lftool vendor`, or is truncated: ")


def test_what_is_no_archive_is_exit_4(remote):
    (remote.root / "v.tar.zst").write_bytes(b"anything")

    done = remote.run("build", "--frozen", "--vendor", "v.tar.zst", env=elsewhere(remote))

    assert done.status == 4
    assert "Traceback" not in done.err
