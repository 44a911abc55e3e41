"""A process that works on model files reaches its inputs and its output, and is ended at its limits."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from tests.sites import lftool_of

from lftool.host.confinement import Applied, Confinement, for_inputs
from lftool.ops.run.backends import confinement_here
from lftool.testing import Outcome, ProjectFolder, tiny_gguf
from lftool.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from lftool.api import Notice

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.copy]
quantize = "COPY"
layout = "gguf"
"""
PLUGIN = """
import os, pathlib, resource, signal, socket, subprocess, sys, threading, time

from lftool.errors import RecipeError

def tried(what):
    try:
        what()
    except BaseException as error:
        raise RecipeError(f"refused: {{type(error).__name__}}")
    raise RecipeError("it was possible")

class Copier:
    def tool(self):
        return ToolIdentity(version="1.0", files=())

    def probe_inputs(self, use, folder):
        (folder / "fixed").write_bytes(b"fixed")
        return {{"weights": folder / "fixed"}}

    def plan(self, spec, inputs):
        weights = inputs["weights"]
        with weights.path.open("rb") as file:
            header = read_gguf(file, weights.artifact.size, "weights")
        types = tuple(TensorType(tensor=item.name, type=item.type.name) for item in header.tensors)
        return TransformPlan(parameters={{}}, tensors=types)

    def run(self, spec, inputs, output, threads, progress):
        data = inputs["weights"].path.read_bytes()
        if data != b"fixed":
            {run}
        output.write_bytes(data)

@hookimpl
def lftool_quantizers():
    yield QuantizerType(
        name="copier", summary="", consumes=("gguf",), produces=("COPY",), semantics="copy/1", factory=Copier,
    )
"""
CAN = confinement_here()
needs_landlock = pytest.mark.skipif(not CAN.landlock, reason="this kernel has no Landlock")


class Listening(LoopbackServer):
    """Remembers that somebody came."""

    heard = False

    def answer(self, handler) -> None:
        self.heard = True
        handler.send_error(404)


@frozen(kw_only=True)
class Shop:
    """A project whose quantizer does what a test says, and the Python that has it installed."""

    site: object
    project: ProjectFolder
    interpreter: object

    def build(self, run: str, **variables: str) -> Outcome:
        self.site.install("copy-shop", PLUGIN.format(run=run), entry="copying")
        self.lftool("lock").assert_success()
        return self.lftool("build", **variables)

    def lftool(self, *arguments: str, **variables: str) -> Outcome:
        return lftool_of(self.interpreter, self.project, *arguments, env=variables)


@pytest.fixture
def shop(site, project, interpreter) -> Shop:
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(RECIPE)
    (project.root.parent / "canary").write_text("canary")
    return Shop(site=site, project=project, interpreter=interpreter)


def test_its_input_output_and_folder_are_enough(shop):
    done = shop.build('pathlib.Path("scratch").write_text("mine")')
    assert done.status == 0, done.err


REACHES = {
    "a file beside the project": 'open("{parent}/canary").read()',
    "the recipe": 'open("{root}/lftool.toml").read()',
    "the home folder": 'os.listdir("{home}")',
    "another blob of the store": 'list(pathlib.Path("{home}/cache/lftool/cas-v1").iterdir())',
    "the environment of its parent": 'open(f"/proc/{{os.getppid()}}/environ", "rb").read()',
    "writing into the project": 'open("{root}/planted", "w")',
    "writing its input": 'inputs["weights"].path.chmod(0o644) or inputs["weights"].path.open("r+b")',
    "writing into the store": 'open("{home}/cache/lftool/planted", "w")',
    "a link out of its folder": 'os.symlink("{parent}/canary", "link") or open("link").read()',
    "a signal to its parent": "os.kill(os.getppid(), signal.SIGTERM)",
    "a server on this machine": 'socket.create_connection(("127.0.0.1", {port}), 2)',
    "a program that does it": (
        'subprocess.run([sys.executable, "-c", "open({root!r} + \\"/lftool.toml\\")"], check=True, stderr=-3)'
    ),
}


@pytest.mark.slow_cases(r"\[(another blob|a link out|writing its input|the recipe)")
@needs_landlock
@pytest.mark.parametrize("reach", REACHES.values(), ids=REACHES.keys())
def test_it_reaches_nothing_else(shop, reach):
    with Listening() as server:
        port = server.url.rpartition(":")[2]
        places = {
            "root": str(shop.project.root),
            "parent": str(shop.project.root.parent),
            "home": str(shop.project.home),
        }
        done = shop.build(f"tried(lambda: {reach.format(port=port, **places)})")
        assert (done.status, "error: refused: " in done.err) == (2, True), done.err
        assert not server.heard
    assert not (shop.project.root / "planted").exists()


LIMITS = {
    "memory": ("blob = bytearray(64 << 30)", "GB of memory"),
    "memory, bit by bit": ("blobs = []\n            while True: blobs.append(bytearray(256 << 20))", "GB of memory"),
    "file size": ("os.truncate(output, 1 << 42)", "a file of "),
    "file size, of another file": ('open("big", "wb").truncate(1 << 42)', "a file of "),
    "file size, by signal": (
        'signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open("big", "wb").truncate(1 << 42)',
        "a file of ",
    ),
}


@pytest.mark.slow_cases(r"\[memory, bit by bit")
@pytest.mark.parametrize(("run", "limit"), LIMITS.values(), ids=LIMITS.keys())
def test_a_child_at_its_limit_is_exit_4_naming_input_and_limit(shop, run, limit):
    done = shop.build(run)
    assert done.status == 4, done.err
    assert "error: plugin 'copying' of copy-shop 1.0: run on the weights was stopped at its limit: " in done.err
    assert limit in done.err


def test_a_child_without_progress_is_ended_and_named(shop):
    shop.project.write_configuration("[plugins]\nidle-seconds = 2\n")
    done = shop.build("threading.Event().wait()")
    assert done.status == 4
    assert "run on the weights was stopped at its limit: 2 seconds without progress" in done.err
    assert "idle-seconds in your config.toml" in done.err


def test_progress_keeps_a_child_alive(shop):
    shop.project.write_configuration("[plugins]\nidle-seconds = 2\n")
    done = shop.build('[(time.sleep(0.8), progress("x", n, 5)) for n in range(5)]')
    assert done.status == 0, done.err


def test_who_is_waited_for_is_said(tmp_path):
    from lftool.host.calls import Call, Watch
    from lftool.host.workers import WorkerRules, Workers

    said: list[str] = []
    both = threading.Event()

    def notify(notice: Notice) -> None:
        said.append(notice.text)
        if len(said) == 2:
            both.set()

    rules = WorkerRules(idle_seconds=600, waiting_seconds=0.4, notify=notify)
    call = Call(registered=type("R", (), {"origin": "plugin 'x' of y 1"})(), method="run", idle_seconds=600)
    with Workers().start(tmp_path) as process, Watch(call, process, rules):
        assert both.wait(20)
    assert said[0].startswith("waiting for plugin 'x' of y 1, run: no progress for ")


def test_limits_follow_from_the_size_of_the_inputs():
    small, large = (for_inputs("m", (), (), size, gpu=False) for size in (0, 10 << 30))
    assert large.data_bytes - small.data_bytes == 4 * (10 << 30)
    assert large.file_bytes - small.file_bytes == 8 * (10 << 30)


def test_work_on_a_gpu_has_no_limit_of_memory():
    assert for_inputs("m", (), (), 1, gpu=True).data_bytes is None


def test_backends_say_what_could_be_applied(project):
    told = project.spawn("backends", "--json").assert_success().json()["confinement"]
    assert Applied(**told) == CAN
    assert told.keys() == {"limits", "no_new_privileges", "landlock", "network"}


def test_what_a_machine_cannot_do_is_left_out_and_told(monkeypatch):
    """In a child, since confining cannot be undone: a kernel without Landlock, namespaces and limits."""
    code = (
        "import ctypes, resource, lftool.host.confining as c\n"
        "from lftool.host.confinement import Applied, Confinement\n"
        "class No:\n"
        "    def __getattr__(self, name): return lambda *_: -1\n"
        "ctypes.CDLL = lambda *_, **__: No()\n"
        "def refuse(*_): raise ValueError\n"
        "resource.setrlimit = refuse\n"
        "print(Applied(**c.confine(Confinement(data_bytes=1).plain())))\n"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Applied())


def test_no_confinement_where_the_user_says_so(shop):
    shop.project.write_configuration("[plugins]\nconfine = false\n")
    canary = shop.project.root.parent / "canary"
    done = shop.build(f"tried(lambda: open({str(canary)!r}).read())")
    assert (done.status, "error: it was possible" in done.err) == (2, True)


def test_a_confinement_travels_as_plain_data():
    wanted = Confinement(reads=("a",), writes=("b",), data_bytes=1, file_bytes=2, gpu=True)
    assert Confinement(**wanted.plain()) == wanted


def test_a_socket_pair_of_its_own_still_works(shop):
    """Threads and libraries talk to themselves."""
    done = shop.build("a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'")
    assert done.status == 0, done.err
