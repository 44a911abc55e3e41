"""Ctrl-C at any stage: exit 130, no litter, no child left, everything that existed before unchanged.

The observer in the child process sends the signal when the stage it waits for is under way, so nothing here sleeps.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from tests.plugins.test_join import split

from lftool.testing import tiny_gguf

# Runs lftool and interrupts its own process group, as a terminal does, when EVENT comes up.
DRIVER = """\
import os, signal, sys, threading, time
from lftool.api import BytesFetched, StageFinished, StageStarted, TensorDone, WorkStopped
from lftool.builtin import console
from lftool.pipeline.ports import Ports

def interrupt():
    os.killpg(0, signal.SIGINT)

where, *arguments = sys.argv[1:]

class Observer(console.ConsoleObserver):
    def __call__(self, event):
        if where == "fetch" and isinstance(event, BytesFetched):
            interrupt()
            assert winding_up.wait(60)
        if where == "fetch, and never ends" and isinstance(event, BytesFetched):
            interrupt()
            time.sleep(60)
        if where == "fetch, twice" and isinstance(event, StageFinished) and event.stage == "fetch":
            interrupt()
            assert winding_up.wait(60)
            time.sleep(0.2)  # now it waits for this thread
            interrupt()
            time.sleep(0.5)  # and must not go on meanwhile
            print("the work has ended", file=sys.stderr)
        if isinstance(event, WorkStopped):
            winding_up.set()
        if where == "quantize" and isinstance(event, TensorDone) and event.index == 3:
            interrupt()
        if where == "pack" and isinstance(event, StageStarted) and event.stage == "pack":
            packing.set()
        super().__call__(event)

packing, winding_up = threading.Event(), threading.Event()
check_cancelled = Ports.check_cancelled

def interrupted_while_copying(self):
    if packing.is_set():
        interrupt()
        assert self.cancelled.wait(60)
    check_cancelled(self)

Ports.check_cancelled = interrupted_while_copying

console.ConsoleObserver = Observer
from lftool.cli.main import run
sys.exit(run(arguments))
"""


def start_interrupted(project, where: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, where, *arguments],
        cwd=project.root,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
        check=False,
    )


def interrupted(project, where: str, *arguments: str) -> tuple[int, str, str]:
    done = start_interrupted(project, where, *arguments)
    return done.returncode, done.stdout, done.stderr.lstrip("\n").splitlines()[-1]


def litter(project) -> list[str]:
    """Names of temporary files anywhere in the project or its cache."""
    return sorted(
        str(path) for folder in (project.root, project.home) for path in folder.rglob("*") if ".tmp" in path.suffixes
    )


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work somewhere below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(folder)):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def state(path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


INTERRUPTED = (130, "", "interrupted; nothing half-written is left")


@pytest.fixture
def changed_project(quantized_project):
    """A built project whose weights have changed and been locked again, so that a build replaces its bundle."""
    quantized_project.run("build").assert_success()
    tiny_gguf(quantized_project.root / "model.gguf", layers=2, seed=1)
    quantized_project.run("lock", "--upgrade", "base").assert_success()
    return quantized_project


@pytest.mark.slow_cases(r"\[pack")
@pytest.mark.parametrize("stage", ["quantize", "pack"])
def test_an_interrupted_build_changes_nothing(changed_project, stage):
    bundle = changed_project.root / "dist" / "tiny-1-q8.gguf"
    before, lock = state(bundle), state(changed_project.lock)

    ended = interrupted(changed_project, stage, "build")

    assert ended == INTERRUPTED
    assert (state(bundle), state(changed_project.lock)) == (before, lock)
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    assert litter(changed_project) == []
    assert processes_in(changed_project.home) == []


@pytest.mark.slow_cases(r"\[pack")
@pytest.mark.parametrize("stage", ["quantize", "pack"])
def test_after_an_interrupt_the_build_goes_through(changed_project, stage):
    assert interrupted(changed_project, stage, "build")[0] == 130

    outcome = changed_project.run("build", "--json").assert_success()

    bundle = changed_project.root / "dist" / "tiny-1-q8.gguf"
    assert outcome.json()["bundles"][0]["size"] == bundle.stat().st_size


def test_an_interrupt_while_weights_are_converted_and_quantised_in_one_pass_leaves_nothing(plain_project, tmp_path):
    split(tiny_gguf(tmp_path / "whole.gguf", layers=2), plain_project.root / "parts", 5)
    recipe = plain_project.recipe.read_text().replace("file:model.gguf", "file:parts")
    plain_project.write_recipe(recipe.replace("[targets.plain]", '[targets.plain]\nquantize = "Q4_K_M"'))

    ended = interrupted(plain_project, "quantize", "lock")

    assert ended == INTERRUPTED
    assert not plain_project.lock.exists()
    assert litter(plain_project) == []
    assert not [path for path in (plain_project.cache / "tmp").rglob("*") if path.is_file()]
    assert processes_in(plain_project.home) == []
    plain_project.run("lock").assert_success()


def test_an_interrupted_lock_writes_nothing(plain_project):
    ended = interrupted(plain_project, "fetch", "lock")

    assert ended == INTERRUPTED
    assert not plain_project.lock.exists()
    assert litter(plain_project) == []


def test_an_interrupted_fetch_leaves_nothing_half_written(locked_project, tmp_path):
    (tmp_path / "empty").mkdir()
    project = attrs.evolve(locked_project, home=tmp_path / "empty")
    lock = state(project.lock)

    ended = interrupted(project, "fetch", "build")

    assert ended == INTERRUPTED
    assert state(project.lock) == lock
    assert not list((project.root / "dist").iterdir())
    project.run("cache", "verify").assert_success()
    assert litter(project) == []


def test_a_second_interrupt_does_not_break_into_the_end_of_the_first(locked_project, tmp_path):
    (tmp_path / "empty").mkdir()

    done = start_interrupted(attrs.evolve(locked_project, home=tmp_path / "empty"), "fetch, twice", "build")

    assert done.returncode == 130
    said = [line for line in done.stderr.splitlines() if line == "the work has ended" or line.startswith("interrupted")]
    assert said == ["the work has ended", INTERRUPTED[2]]


def test_work_that_does_not_end_is_said_to_and_another_interrupt_ends_it(plain_project):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "fetch, and never ends", "lock"],
        cwd=plain_project.root,
        env=plain_project.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        for line in process.stderr:
            if "stopping; press Ctrl-C again to stop immediately" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
    assert not plain_project.lock.exists()


IMPATIENT = """\
import os, signal
from lftool.cli import interrupts
interrupts._PATIENCE = -1
with interrupts.one_interrupt():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
    print("went on")
"""


def test_an_interrupt_after_some_seconds_of_patience_ends_the_process_at_once():
    done = subprocess.run([sys.executable, "-c", IMPATIENT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "interrupted\n", "")


def test_a_child_that_a_terminal_s_signal_does_not_reach_is_ended(changed_project):
    """The quantizer runs in a session of its own, so the parent must end it."""
    assert interrupted(changed_project, "quantize", "build") == INTERRUPTED

    assert processes_in(changed_project.home) == []
