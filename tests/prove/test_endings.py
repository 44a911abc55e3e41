"""Ctrl-C and a full disk while a file is proved or a bundle rebuilt: nothing is left, and it is said what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.functional.conftest import run_mounted
from tests.prove.conftest import make

from lftool.testing.file_server import FileServer

if TYPE_CHECKING:
    from lftool.testing import ProjectFolder

# Runs lftool and interrupts its own process group, as a terminal does, at the second tensor of a stage.
DRIVER = """\
import os, signal, sys
from lftool.api import TensorDone
from lftool.builtin import console

where, *arguments = sys.argv[1:]

class Observer(console.ConsoleObserver):
    def __call__(self, event):
        if isinstance(event, TensorDone) and event.stage == where and event.index == 2:
            os.killpg(0, signal.SIGINT)
        super().__call__(event)

console.ConsoleObserver = Observer
from lftool.cli.main import run
sys.exit(run(arguments))
"""
SCRIPT = """\
mount -t tmpfs -o size=$1 none "$2" || exit 97
shift 2
exec "$@"
"""


def interrupted(folder: ProjectFolder, where: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, where, *arguments],
        cwd=folder.root,
        env=folder.environment,
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def litter(folder: ProjectFolder) -> list[str]:
    found = [path for path in (folder.cache / "tmp").glob("*") if path.is_dir()]
    return [str(path) for path in [*found, *folder.root.rglob(".*")]]


def test_an_interrupted_proof_leaves_nothing(folder: ProjectFolder) -> None:
    make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M")
    before = sorted(folder.root.iterdir())
    done = interrupted(folder, "prove", "prove", "made.gguf", "--base", "base.gguf", "--statement", "s.json")
    assert done.returncode == 130, done.stderr
    assert sorted(folder.root.iterdir()) == before
    assert litter(folder) == []


def test_an_interrupted_rebuild_leaves_nothing(quantized_project: ProjectFolder) -> None:
    quantized_project.run("build").assert_success()
    before = sorted(quantized_project.root.rglob("*"))
    done = interrupted(quantized_project, "quantize", "rebuild", "dist/tiny-1-q8.gguf")
    assert done.returncode == 130, done.stderr
    assert sorted(quantized_project.root.rglob("*")) == before
    assert litter(quantized_project) == []


def test_a_full_disk_is_said_while_remote_tensors_are_brought(folder: ProjectFolder) -> None:
    make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M")
    cache = folder.cache.parent
    cache.mkdir(parents=True)
    with FileServer(files={"/base.gguf": (folder.root / "base.gguf").read_bytes()}) as server:
        command = (sys.executable, "-m", "lftool.cli.entry", "prove", "made.gguf", "--base", f"{server.url}/base.gguf")
        done = run_mounted(SCRIPT, "120k", cache, *command, project=folder)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
