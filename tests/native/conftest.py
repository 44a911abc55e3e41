"""The native runtime that `make native` compiled, in the caches of projects of their own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.known_tools import give, link

from lftool.testing import ProjectFolder

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lftool-dev" / "native" / "lftool"
STORY = Path(__file__).parents[2] / "examples" / "tiny-story"
NAME = "story-1-{}.{}"
# What our own code is compiled with where it is tested by itself.
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GLIBCXX_ASSERTIONS")
PROMPT = "Tell me a story about a fox."
RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.native]
quantize = "Q4_K_M"
layout = "llamafile"
runtime = "native"
[targets.python]
quantize = "Q4_K_M"
layout = "llamafile"
[targets.gguf]
quantize = "Q4_K_M"
layout = "gguf"
runtime = "none"
[run]
context = 512
temperature = 0.0
max_tokens = 160
"""


_known: list[Path] = []


@pytest.fixture(scope="session", autouse=True)
def tools(known_tools: Path) -> None:
    """Let `seed` know what is known of tools."""
    _known.append(known_tools)


def seed(home: Path) -> None:
    """Put what `make native` compiled, and what is known of tools, into the cache of a project."""
    for folder in _known:
        give(folder, home)
    if not (CACHE / "ac-v2").is_dir():
        pytest.skip("there is no native runtime: make native")
    for part in ("cas-v1", "ac-v2"):
        shutil.copytree(CACHE / part, home / "cache" / "lftool" / part, copy_function=link, dirs_exist_ok=True)


def make_project(base: Path, recipe: str) -> ProjectFolder:
    """A project with tiny-story's weights whose cache has the native runtime."""
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir(parents=True)
    made.home.mkdir()
    seed(made.home)
    shutil.copy(STORY / "tiny-story-f16.gguf", made.root)
    shutil.copy(STORY / "held-out.txt", made.root)
    made.write_recipe(recipe)
    return made


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> Path:
    """llama.cpp's sources, as the runtime's lock entry pins them."""
    from lftool.ops.project import open_ports
    from lftool.ops.runtime import lock_of
    from lftool.pipeline.tools.archives import resolve_archive, unpacked
    from lftool.pipeline.tools.runtimes import archive_of

    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(CACHE.parent)
    try:
        ports = open_ports(None)
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before
    registered = ports.registry.runtime("native", "cpu")
    archive, name = archive_of(registered), registered.record.semantics
    pinned = resolve_archive(archive, None, name, ports)
    artifact = unpacked(archive, pinned, name, lock_of(registered.origin, pinned, ports), ports)
    folder = tmp_path_factory.mktemp("sources")
    with zipfile.ZipFile(ports.store.blobs.require(artifact, "the sources")) as members:
        members.extractall(folder)
    return folder / "vendor" / "llama.cpp"


@pytest.fixture(scope="session")
def story(tmp_path_factory, worker_id) -> ProjectFolder:
    """Bundles of tiny-story with each runtime; built once, by the first worker."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "native-story"
    shared.mkdir(exist_ok=True)
    with (shared / "mutex").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (shared / "ready").exists():
            shutil.rmtree(shared / "project", ignore_errors=True)
            shutil.rmtree(shared / "home", ignore_errors=True)
            made = make_project(shared, RECIPE)
            made.run("lock").assert_success()
            made.run("build").assert_success()
            (shared / "ready").touch()
    return ProjectFolder(root=shared / "project", home=shared / "home")


@pytest.fixture(scope="session")
def native(story) -> Path:
    """A bundle that needs no Python."""
    return story.root / "dist" / NAME.format("native", "llamafile")


@pytest.fixture
def executable(story, tmp_path) -> Path:
    """The runtime by itself."""
    story.run("runtime", "build", "--offline", "-o", tmp_path / "runtime").assert_success()
    return tmp_path / "runtime"


# Debian's users do not have the folder of it in their PATH.
CHROOT = shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "chroot"


def root_command(root: Path, *command: str) -> list[str]:
    """Return what runs a command in a root of its own."""
    change = [CHROOT, str(root), *command]
    return change if os.geteuid() == 0 else ["unshare", "--map-root-user", *change]


def start(*command: str | Path, **more) -> subprocess.CompletedProcess[str]:
    """Run a program that finds nothing of this machine's in its environment."""
    return subprocess.run(
        list(map(str, command)),
        **{"env": {"PATH": "/nonexistent"}, "stdin": subprocess.DEVNULL, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
