"""A store to work on, processes that hold things, and file trees to compare."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from lftool.store.failpoints import VARIABLE
from lftool.store.store import Store
from lftool.testing import ProjectFolder, tiny_gguf
from lftool.testing.plugin import PLAIN_RECIPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Arm a failpoint of this process: `fail_at("blob.created=enospc")`."""
    return lambda wanted: monkeypatch.setenv(VARIABLE, wanted)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock that stamps look at: `ahead_ns` nanoseconds ahead of the real one."""
    ahead = SimpleNamespace(ahead_ns=0)
    real = time.time_ns
    monkeypatch.setattr("lftool.store.stamps.time", SimpleNamespace(time_ns=lambda: real() + ahead.ahead_ns))
    return ahead


@pytest.fixture
def settled(clock: SimpleNamespace) -> SimpleNamespace:
    """A clock for which every file is older than two seconds."""
    clock.ahead_ns = 3_000_000_000
    return clock


@pytest.fixture
def holder() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code in a process that says `ready` and then lives until it is killed; return that process.

    The code may use `sys.argv`; it ends with `hold()`, which says ready and waits.
    """
    started: list[subprocess.Popen[str]] = []
    prelude = "import sys\ndef hold():\n    print('ready', flush=True)\n    sys.stdin.read()\n"

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", prelude + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _tree(*roots: Path) -> dict[str, bytes]:
    """Content of every file below `roots`, by path relative to its root's parent."""
    return {
        str(path.relative_to(root.parent)): path.read_bytes()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def tree() -> Callable[..., dict[str, bytes]]:
    """Content of every file below some folders."""
    return _tree


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command of a project in a process of its own; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(project: ProjectFolder, *arguments: str | Path, **options: dict[str, str]) -> subprocess.Popen[str]:
        started.append(project.start(*arguments, **options))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def _without_tokens(text: str) -> str:
    return re.sub(r"-[0-9a-f]{16}\.tmp", "-TOKEN.tmp", text)


@pytest.fixture
def without_tokens() -> Callable[[str], str]:
    """Replace the random part of temporary names in a message."""
    return _without_tokens


def _flip(path: Path, position: int = -1) -> bytes:
    """Flip one byte of a read-only file in place, leaving size and inode; return the new content."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)
    return bytes(data)


@pytest.fixture
def flip() -> Callable[..., bytes]:
    """Flip one byte of a read-only file in place."""
    return _flip


def quantized(project: ProjectFolder) -> ProjectFolder:
    """Make a project whose one target is quantised to Q8_0."""
    tiny_gguf(project.root / "model.gguf", width=256)
    project.write_recipe(PLAIN_RECIPE + 'quantize = "Q8_0"\nbackend = "cpu"\n')
    return project


@pytest.fixture(scope="session")
def quantized_template(tmp_path_factory: pytest.TempPathFactory) -> ProjectFolder:
    """A locked project with a quantised target, nothing built; copy it, never change it."""
    folder = tmp_path_factory.mktemp("quantized")
    project = ProjectFolder(root=folder / "project", home=folder / "home")
    project.root.mkdir()
    project.home.mkdir()
    quantized(project).run("lock").assert_success()
    return project


def _copy_of(template: ProjectFolder, folder: Path) -> ProjectFolder:
    copied = ProjectFolder(root=folder / "project", home=folder / "home")
    shutil.copytree(template.root, copied.root)
    shutil.copytree(template.home, copied.home)
    return copied


@pytest.fixture
def copy_of() -> Callable[[ProjectFolder, Path], ProjectFolder]:
    """Copy a project with its home into a folder."""
    return _copy_of


@pytest.fixture
def quantized_project(quantized_template: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A locked project with a quantised target, nothing built."""
    return _copy_of(quantized_template, tmp_path / "copy")


@pytest.fixture
def mounted() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run lftool in a mount namespace of its own, after `mount` with some arguments."""
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    probe = [*private, "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        pytest.skip("this system grants no mount namespace, so there is no small or read-only disk to try")

    def run(
        project: ProjectFolder, mounts: list[str], *arguments: str | Path, before: str = ":", after: str = ":"
    ) -> subprocess.CompletedProcess[str]:
        """Mount, then run shell commands `before` lftool and `after` it; the exit status is lftool's."""
        ready = " && ".join([*(f"mount {mount}" for mount in mounts), f"cd '{project.root}'", before])
        script = f'{ready} || exit 99; "$@"; status=$?; {after} || exit 99; exit $status'
        return subprocess.run(
            [*private, "sh", "-c", script, "sh", sys.executable, "-m", "lftool.cli.entry", *map(str, arguments)],
            cwd=project.root,
            env=project.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def known_tools() -> None:
    """Tests here begin without a cache."""
