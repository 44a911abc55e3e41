"""A fresh Debian with Python and pip, and nothing else: the README and the tutorial, followed as they are written.

The image is made by debootstrap and started by podman without a network: packages come from a folder of wheels.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.engine import Engine, engine_in
from tests.packages.test_lanes import READY_MADE, compiled
from tests.packages.test_wheels import wheels  # noqa: F401 - a fixture
from tests.pages import Step, follow, tutorial, two_minutes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow
IMAGE = "localhost/fresh-debian:1"
PACKAGES = "python3,python3-pip,python3-venv,libgomp1"  # the last: what llama-cpp-python is linked to


def release() -> tuple[str, str]:
    """Return the code name of this Debian, and a mirror that apt uses."""
    if shutil.which("debootstrap") is None:
        pytest.skip("there is no debootstrap here: Debian package debootstrap")
    wanted = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(wanted, capture_output=True, text=True, check=True).stdout.split("\n")
    name, mirror = min((line for line in lines if line), key=len).split()  # not its updates
    return name, mirror


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Engine:
    """An engine that has the image."""
    folder = tmp_path_factory.mktemp("debian")
    name, mirror = release()
    with engine_in(folder) as engine:
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", name, folder / "debian", mirror]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        subprocess.run(["tar", "-C", folder / "debian", "-cf", folder / "debian.tar", "."], check=True)
        engine.run("import", folder / "debian.tar", IMAGE, timeout=600)
        yield engine


@pytest.fixture(scope="module")
def wheelhouse(wheels, tmp_path_factory) -> Path:  # noqa: F811
    """Our wheels, and all that they need, from the index that pip is set up for."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    for wheel in (*(wheels[name] for name in READY_MADE), compiled()):
        shutil.copy(wheel, folder)
    ours = [str(path) for path in sorted(folder.glob("*.whl"))]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--only-binary", ":all:"]
    done = subprocess.run(
        [*pip, "--dest", folder, *ours, "hatchling>=1.27"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def shell(fresh, wheelhouse, repository, tmp_path) -> Callable[[str], str]:
    """A shell in a container of its own, in a clone of this repository."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)

    def run(script: str) -> str:
        options = ["--rm", "--network", "none", "-v", f"{wheelhouse}:/wheels:ro", "-v", f"{clone}:/clone"]
        variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        options += [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
        command = ["run", *options, "-w", "/clone", IMAGE, "bash", "-c", f"exec 2>&1\n{script}"]
        return fresh.run(*command, check=False, timeout=600).stdout

    return run


def test_the_two_minutes_of_the_readme(shell, repository):
    follow(two_minutes(repository), shell)


INSTALLED = [
    Step("python3 -m venv /lftool && . /lftool/bin/activate", None),
    Step("pip install --quiet --root-user-action ignore 'lftool[cpu]'", None),
]


def test_the_tutorial(shell, repository):
    follow([*INSTALLED, Step("cd examples/tiny-story", None), *tutorial(repository)], shell)


def test_a_library_that_is_missing_is_named_with_its_package(shell):
    why = "llama-cpp-python cannot load its library: …libgomp.so.1: cannot open shared object file: No such file or directory"
    way = "install what is missing (Debian: apt install libgomp1); …"
    shown = [
        "…",
        f"     note  did not try loading the model: {why}; {way}",
        "…",
        "wrote lftool.lock",
    ]
    steps = [
        Step("rm /usr/lib/*/libgomp.so.1*", None),
        *INSTALLED,
        Step("mkdir /story && cp examples/tiny-story/tiny-story-f16.gguf /story && cd /story", None),
        Step("lftool init", None),
        Step("lftool lock", shown),
    ]
    follow(steps, shell)
