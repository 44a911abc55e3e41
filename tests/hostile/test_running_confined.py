"""`lftool run`, `serve` and `check` hand a model to a process that reaches the bundle, its terminal or its port, and nothing else."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from attrs import frozen
from tests.hostile.test_confinement import Listening, needs_landlock
from tests.known_tools import give
from tests.sites import lftool_of

from lftool.ops.run.served_model import Question, served
from lftool.store.store import Store
from lftool.testing import Outcome, ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[run]
context = 64
temperature = 0
max_tokens = 2
"""
BUNDLE = "dist/tiny-1-plain.gguf"
# A backend whose process does what a test says, and prints how that went.
PLUGIN = """
import sys

PROGRAM = '''
import os, pathlib, signal, socket, subprocess, sys, tempfile
def tried(what):
    try:
        print("possible:", what())
    except BaseException as error:
        print(f"refused: {{type(error).__name__}}")
{program}
'''

class Crab:
    def probe(self):
        return Probe(available=True)

    def launch(self, request):
        argv = (sys.executable, "-I", "-c", PROGRAM, request.bundle)
        return LaunchCommand(argv=argv, {needs})

@hookimpl
def lftool_backends():
    yield BackendType(name="crab", summary="", factory=Crab)
"""


@frozen(kw_only=True)
class Shop:
    """A bundle, and a Python that has the backend installed."""

    site: object
    project: ProjectFolder
    interpreter: object

    def do(self, program: str, command: tuple[str, ...] = ("run",), needs: str = "") -> Outcome:
        self.site.install("crab-shop", PLUGIN.format(program=program, needs=needs), entry="crab")
        return lftool_of(self.interpreter, self.project, *command, BUNDLE, "--backend", "crab", env={})


@pytest.fixture
def built(project) -> ProjectFolder:
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(RECIPE)
    project.run("lock").assert_success()
    project.run("build").assert_success()
    (project.root.parent / "canary").write_text("canary")
    return project


@pytest.fixture
def shop(site, built, interpreter) -> Shop:
    return Shop(site=site, project=built, interpreter=interpreter)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_reads_the_bundle_that_was_checked(shop):
    done = shop.do("tried(lambda: open(sys.argv[1], 'rb').read(4))")
    assert (done.status, done.out) == (0, "possible: b'GGUF'\n"), done.err


REACHES = {
    "a file beside the project": 'open("{parent}/canary").read()',
    "the source of the bundle": 'open("{root}/model.gguf").read()',
    "another bundle beside it": 'os.listdir("{root}/dist")',
    "the home folder": 'os.listdir("{home}")',
    "the store": 'os.listdir("{home}/cache/lftool/cas-v1")',
    "the environment of another process": 'open(f"/proc/{{os.getppid()}}/environ", "rb").read()',
    "writing the bundle": 'open(sys.argv[1], "r+b")',
    "writing into the project": 'open("{root}/planted", "w")',
    "the folder of temporary files": "tempfile.TemporaryFile()",
    "a signal to another process": "os.kill(os.getppid(), signal.SIGTERM)",
    "a server on this machine": 'socket.create_connection(("127.0.0.1", {port}), 2)',
    "a program that does it": 'subprocess.run(["/bin/cat", "{root}/lftool.toml"], check=True, stderr=-3)',
}


@pytest.mark.slow_cases(r"-serve\]")
@needs_landlock
@pytest.mark.parametrize("command", ["run", "serve"])
@pytest.mark.parametrize("reach", REACHES.values(), ids=REACHES.keys())
def test_it_reaches_nothing_else(shop, reach, command):
    project = shop.project
    with Listening() as server:
        places = {
            "root": project.root,
            "parent": project.root.parent,
            "home": project.home,
            "port": server.url.rpartition(":")[2],
        }
        serving = () if command == "run" else ("--port", str(free_port()))
        done = shop.do(f"tried(lambda: {reach.format(**places)})", (command, *serving))
        assert (done.status, done.out.startswith("refused: ")) == (0, True), done
        assert not server.heard
    assert not (project.root / "planted").exists()


@needs_landlock
def test_a_server_listens_on_its_port_and_on_no_other(shop):
    own, other = free_port(), free_port()
    listens = 'socket.create_server(("127.0.0.1", {})).close()'
    done = shop.do(
        f"tried(lambda: {listens.format(own)})\ntried(lambda: {listens.format(other)})", ("serve", "--port", str(own))
    )
    assert (done.status, done.out) == (0, "possible: None\nrefused: PermissionError\n"), done.err


@needs_landlock
def test_what_a_backend_says_that_it_needs_is_opened_for_it(shop):
    folder = shop.project.root.parent / "drivers"
    (folder / "cache").mkdir(parents=True)
    (folder / "driver").write_text("driver")
    program = f"""
tried(lambda: open("{folder}/driver").read())
tried(lambda: open("{folder}/cache/made", "w").write("made"))
tried(lambda: open("{folder}/made", "w").write("made"))
"""
    done = shop.do(program, needs=f'reads=("{folder}",), writes=("{folder}/cache",)')
    assert (done.status, done.out) == (0, "possible: driver\npossible: 4\nrefused: PermissionError\n"), done.err


def test_no_confinement_where_the_user_says_so(shop):
    shop.project.write_configuration("[plugins]\nconfine = false\n")
    done = shop.do(f'tried(lambda: open("{shop.project.root.parent}/canary").read())')
    assert (done.status, done.out) == (0, "possible: canary\n"), done.err


def is_confined(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/status").read_text()
    return "NoNewPrivs:\t1" in status


@pytest.fixture(scope="module")
def real(repository, tmp_path_factory, known_tools) -> ProjectFolder:
    """A bundle of a model that runs."""
    base = tmp_path_factory.mktemp("real")
    made = ProjectFolder(root=base / "project", home=base / "home")
    made.root.mkdir()
    give(known_tools, made.home)
    shutil.copy(repository / "examples" / "tiny-story" / "tiny-story-f16.gguf", made.root / "model.gguf")
    made.write_recipe(RECIPE)
    made.run("lock").assert_success()
    made.run("build").assert_success()
    time.sleep(2.1)  # a file younger than two seconds gets no stamp
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_start_that_is_remembered_is_confined_as_the_first_one(real):
    for modules in ({"click", "attr"}, set()):  # those of the second are few: it took the short way
        process = real.start("run", BUNDLE, env={"PYTHONPROFILEIMPORTTIME": "1"})
        try:
            deadline = time.monotonic() + 60
            while not is_confined(process.pid):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            out, err = process.communicate("Once upon a time", 60)
        finally:
            process.kill()
        assert (process.returncode, bool(out.strip())) == (0, True), err
        loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
        assert loaded & {"click", "attr"} == modules


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_server_is_confined_and_answers(real):
    port = free_port()
    process = real.start("serve", BUNDLE, "--port", str(port))
    try:
        deadline = time.monotonic() + 60
        body = {"prompt": "Once upon", "max_tokens": 2}
        while True:
            try:
                answer = httpx2.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=60)
                break
            except httpx2.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert answer.status_code == 200
        assert is_confined(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_a_conversation_in_a_terminal_works_confined(real):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lftool", "run", BUNDLE],
        cwd=real.root,
        env={**real.environment, "TERM": "dumb"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    said = b""
    typed = [b"Once upon a time\n", b"\x04"]
    try:
        while select.select([leader], [], [], 60)[0] and (piece := os.read(leader, 4096)):
            said += piece
            if typed and said.count(b"> ") > 2 - len(typed):
                os.write(leader, typed.pop(0))
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(leader)
    assert (process.wait(60), said.count(b"> ") >= 2) == (0, True), said


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_questions_of_checks_go_to_a_server_that_is_confined(real, monkeypatch):
    for name, value in real.environment.items():
        monkeypatch.setenv(name, value)
    with served(real.root / BUNDLE, Store(real.cache), None) as model:
        (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert is_confined(int(child))
        assert model.ask(Question(prompt="Once upon", raw=True, max_tokens=2))
