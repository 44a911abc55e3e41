"""Runtimes that are compiled: pinned by their bytes, taken from wherever those bytes are, compiled where they are not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import time
import tomllib
from pathlib import Path

import attrs
import pytest
from attrs import frozen
from tests.forging import forge
from tests.sites import lftool_of

from lftool.models.digest import Artifact
from lftool.pipeline.identity import runtime_digest
from lftool.testing import Outcome, ProjectFolder, tiny_gguf
from lftool.testing.loopback import LoopbackServer

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.one]
layout = "llamafile"
runtime = "toy"
"""
PLUGIN = """
import pathlib

from lftool.errors import UnavailableError

class Toy:
    def tool(self):
        archive = ToolArchive(uri="file:toy.tar.gz", sha256=Digest("{sha256}"), members=("src/**",))
        return ToolIdentity(version="toy 1", files=(), archive=archive, parameters={parameters})

    def toolchain(self):
        {tool}
        return "cc {version}"

    def compile(self, archive, output, threads, progress):
        progress("", 1, 2)
        {compile}

@hookimpl
def lftool_runtimes():
    yield RuntimeType(
        name="toy", number=1, summary="a toy", compiled=True, backend={backend}, factory=Toy
    )
"""
COPY = "output.write_bytes(b'executable {version} of ' + pathlib.Path(archive).read_bytes()[:200])"


def archive(path, text: bytes = b"int main;") -> None:
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as out:
        for name, data in (("toy-1/src/main.c", text), ("toy-1/README", b"not needed")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))


@frozen(kw_only=True)
class Toolshop:
    """A project whose runtime a fake plugin compiles."""

    site: object
    project: ProjectFolder
    interpreter: object

    def install(
        self,
        *,
        version: str = "1",
        body: str = COPY,
        tool: str = "pass",
        backend: str = "'cpu'",
        parameters: tuple[str, ...] = (),
    ) -> None:
        sha256 = hashlib.sha256((self.project.root / "toy.tar.gz").read_bytes()).hexdigest()
        code = PLUGIN.format(
            tool=tool,
            version=version,
            compile=body.format(version=version),
            backend=backend,
            parameters=parameters,
            sha256=sha256,
        )
        self.site.install("toy-shop", code, entry="toys")

    def lftool(self, *arguments: str, home: ProjectFolder | None = None, **variables: str) -> Outcome:
        where = home or self.project
        return lftool_of(self.interpreter, where, *arguments, env=variables)

    def locked(self) -> dict:
        return tomllib.loads(self.project.lock.read_text())

    def elsewhere(self, tmp_path) -> ProjectFolder:
        """Another machine: the same project, an empty cache."""
        (tmp_path / "other").mkdir(exist_ok=True)
        return ProjectFolder(root=self.project.root, home=tmp_path / "other")


@pytest.fixture
def shop(site, project, interpreter) -> Toolshop:
    tiny_gguf(project.root / "model.gguf", width=32)
    archive(project.root / "toy.tar.gz")
    project.write_recipe(RECIPE)
    made = Toolshop(site=site, project=project, interpreter=interpreter)
    made.install()
    return made


def test_the_lock_names_the_executable_its_sources_and_what_compiled_it(shop):
    shop.lftool("lock").assert_success()
    pinned = shop.locked()["runtimes"]["toy-cpu/1"]
    assert pinned["toolchain"] == "cc 1"
    assert pinned["archive"]["uri"] == "file:toy.tar.gz"
    assert pinned["archive"]["files"][0]["path"] == "toy.tar.gz"
    assert {"sha256", "executable", "size"} <= pinned.keys()
    assert shop.locked()["targets"]["one"]["runtime"] == "toy-cpu/1"


def test_the_bundle_begins_with_the_executable(shop):
    shop.lftool("lock").assert_success()
    shop.lftool("build").assert_success()
    bundle = (shop.project.root / "dist" / "tiny-1-one.llamafile").read_bytes()
    pinned = shop.locked()["runtimes"]["toy-cpu/1"]
    assert Artifact.of(bundle[: pinned["size"]]).sha256.hex == pinned["executable"]


def test_the_slice_in_the_bundle_names_no_toolchain(shop):
    shop.lftool("lock").assert_success()
    shop.lftool("build").assert_success()
    shop.lftool("extract", "dist/tiny-1-one.llamafile", "parts").assert_success()
    part = tomllib.loads((shop.project.root / "parts" / "lftool" / "lock.toml").read_text())
    whole = shop.locked()["runtimes"]["toy-cpu/1"]
    assert part["runtimes"]["toy-cpu/1"] == {key: value for key, value in whole.items() if key != "toolchain"}


def test_another_option_compiles_again(shop):
    shop.install(parameters=("-DGPU=OFF",))
    shop.lftool("lock").assert_success()
    before = shop.locked()["runtimes"]["toy-cpu/1"]

    shop.install(parameters=("-DGPU=ON",), body=COPY.replace("executable", "faster one"))
    shop.lftool("lock", "--upgrade").assert_success()

    assert shop.locked()["runtimes"]["toy-cpu/1"]["executable"] != before["executable"]


def test_it_is_compiled_once(shop):
    first = shop.lftool("lock").assert_success()
    assert "  compile  toy-cpu/1  0.0 MB" in first.err
    again = shop.lftool("build").assert_success()
    assert "  compile  toy-cpu/1  cached\n" in again.err


def test_another_compiler_that_makes_the_same_bytes_is_no_matter(shop, tmp_path):
    shop.lftool("lock").assert_success()
    shop.lftool("build").assert_success()
    shop.install(version="22", body=COPY.replace("{version}", "1"))
    shop.lftool("lock", "--upgrade", "plugin:toy-shop").assert_success()
    shop.lftool("build", "--locked", home=shop.elsewhere(tmp_path)).assert_success()
    assert shop.locked()["runtimes"]["toy-cpu/1"]["toolchain"] == "cc 1"


def test_another_compiler_that_makes_other_bytes_is_named_beside_the_one_that_is_locked(shop, tmp_path):
    shop.lftool("lock").assert_success()
    shop.install(version="22")
    shop.lftool("lock", "--upgrade", "plugin:toy-shop").assert_success()
    done = shop.lftool("build", home=shop.elsewhere(tmp_path))
    pinned = shop.locked()["runtimes"]["toy-cpu/1"]
    assert done.status == 7
    assert f"runtime toy-cpu/1: the lock names sha256 {pinned['executable']}, this machine compiled" in done.err
    assert "the lock was made with cc 1; this machine has cc 22" in done.err
    assert "lftool lock --upgrade tool:toy-cpu/1" in done.err


def test_a_lock_keeps_the_executable_until_it_is_upgraded(shop):
    shop.lftool("lock").assert_success()
    before = shop.locked()["runtimes"]["toy-cpu/1"]
    shop.install(version="22")
    shop.lftool("lock", "--upgrade", "plugin:toy-shop").assert_success()
    assert shop.locked()["runtimes"]["toy-cpu/1"] == before
    shop.lftool("lock", "--upgrade", "tool:toy-cpu/1").assert_success()
    after = shop.locked()["runtimes"]["toy-cpu/1"]
    assert (after["toolchain"], after["executable"] != before["executable"]) == ("cc 22", True)


def test_a_machine_that_cannot_compile_takes_it_from_a_vendor_folder(shop, tmp_path):
    shop.lftool("lock").assert_success()
    shop.lftool("build").assert_success()
    first = (shop.project.root / "dist" / "tiny-1-one.llamafile").read_bytes()
    shop.lftool("vendor", "vendored").assert_success()
    shutil.rmtree(shop.project.root / "dist")
    shop.install(tool="raise UnavailableError('no compiler')")
    shop.lftool("lock", "--upgrade", "plugin:toy-shop").assert_success()
    other = shop.elsewhere(tmp_path)
    distrusting = shop.lftool("build", "--locked", "--vendor", "vendored", home=other)
    assert (distrusting.status, "error: no compiler\n" in distrusting.err) == (8, True)
    assert "`--vendor PATH --trust-vendor` here" in distrusting.err
    done = shop.lftool("build", "--locked", "--vendor", "vendored", "--trust-vendor", home=other).assert_success()
    del done
    assert (shop.project.root / "dist" / "tiny-1-one.llamafile").read_bytes() == first


class Shelf(LoopbackServer):
    """A remote store that everybody may write to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def answer(self, handler) -> None:
        if handler.command == "PUT":
            self.kept[handler.path] = handler.rfile.read(int(handler.headers["content-length"]))
            handler.send_response(201)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        data = self.kept.get(handler.path)
        handler.send_response(404 if data is None else 200)
        handler.send_header("content-length", str(len(data or b"")))
        handler.end_headers()
        if handler.command == "GET" and data:
            handler.wfile.write(data)


def test_a_machine_that_cannot_compile_takes_it_from_the_remote_store(shop, tmp_path):
    shop.lftool("lock").assert_success()
    shop.lftool("build").assert_success()
    first = (shop.project.root / "dist" / "tiny-1-one.llamafile").read_bytes()
    shutil.rmtree(shop.project.root / "dist")
    with Shelf() as shelf:
        shop.lftool("cache", "push", LFTOOL_REMOTE_STORE=f"{shelf.url}/store").assert_success()
        shop.install(tool="raise UnavailableError('no compiler')")
        shop.lftool("lock", "--upgrade", "plugin:toy-shop").assert_success()
        other = shop.elsewhere(tmp_path)
        store = {"LFTOOL_REMOTE_STORE": f"{shelf.url}/store"}
        assert shop.lftool("build", "--locked", home=other, **store).status == 8
        shop.lftool("build", "--locked", home=other, LFTOOL_REMOTE_STORE_ACTIONS="1", **store).assert_success()
    assert (shop.project.root / "dist" / "tiny-1-one.llamafile").read_bytes() == first


def test_sources_other_than_the_plugins_are_not_compiled(shop, tmp_path):
    """A lock from elsewhere does not decide what is compiled here and executed by the next `lftool run`."""
    shop.lftool("lock").assert_success()
    shutil.copy(shop.project.root / "toy.tar.gz", shop.project.root / "other.tar.gz")
    shop.project.lock.write_text(shop.project.lock.read_text().replace("file:toy.tar.gz", "file:other.tar.gz"))
    done = shop.lftool("build", home=shop.elsewhere(tmp_path))
    assert done.status == 3
    sha256 = shop.locked()["runtimes"]["toy-cpu/1"]["archive"]["files"][0]["sha256"]
    assert done.err.splitlines()[-2:] == [
        (
            f"error: tool toy-cpu/1: the lock names the archive file:other.tar.gz (sha256 {sha256}), the installed plugin"
            f" file:toy.tar.gz (sha256 {sha256})"
        ),
        "  hint: pin the plugin's: lftool lock",
    ]


@pytest.fixture
def forged(shop):
    """A lock that names a file of a source as the executable; the store has it, so its digest is right."""
    shop.project.write_recipe(RECIPE.replace("[model]", '[sources.planted]\nuri = "file:planted"\n[model]'))
    (shop.project.root / "planted").write_bytes(b"#!/bin/sh\necho planted\n")
    shop.lftool("lock").assert_success()
    planted = Artifact.of((shop.project.root / "planted").read_bytes())
    sha256 = runtime_digest(planted.sha256, ())

    def change(lock):
        pinned = attrs.evolve(lock.runtimes["toy-cpu/1"], executable=planted.sha256, size=planted.size, sha256=sha256)
        return attrs.evolve(lock, runtimes={"toy-cpu/1": pinned})

    forge(shop.project, change)
    shop.lftool("fetch").assert_success()
    return shop


def test_a_lock_cannot_name_a_file_as_the_runtime(forged):
    """A blob with the right digest is an input; nothing was compiled into it."""
    done = forged.lftool("build")
    assert done.status == 7
    assert "runtime toy-cpu/1: the lock names sha256" in done.err
    assert not (forged.project.root / "dist" / "tiny-1-one.llamafile").exists()


@pytest.mark.parametrize("command", [("vendor", "out"), ("build", "--locked"), ("build", "--dry-run")])
def test_a_planted_runtime_goes_nowhere(forged, command):
    done = forged.lftool(*command)
    if "--dry-run" in command:
        assert "compile  one  toy-cpu/1\n" in done.out
    else:
        assert done.status in {3, 7}
        assert not (forged.project.root / "out").exists()


def test_a_planted_runtime_is_not_pushed(forged):
    with Shelf() as shelf:
        forged.lftool("cache", "push", LFTOOL_REMOTE_STORE=f"{shelf.url}/store").assert_success()
    assert [path for path in shelf.kept if "/ac/" in path] == []


def test_records_of_a_vendor_folder_count_only_for_the_build_that_trusts_it(shop, tmp_path):
    shop.lftool("lock").assert_success()
    shop.lftool("vendor", "vendored").assert_success()
    shop.install(tool="raise UnavailableError('no compiler')")
    shop.lftool("lock", "--upgrade", "plugin:toy-shop").assert_success()
    other = shop.elsewhere(tmp_path)
    shop.lftool("build", "--vendor", "vendored", "--trust-vendor", home=other).assert_success()
    shutil.rmtree(shop.project.root / "dist")
    assert shop.lftool("build", home=other).status == 8


def test_pushed_records_say_what_was_compiled_here(shop):
    shop.lftool("lock").assert_success()
    with Shelf() as shelf:
        shop.lftool("cache", "push", LFTOOL_REMOTE_STORE=f"{shelf.url}/store").assert_success()
    (said,) = [data for path, data in shelf.kept.items() if "/ac/" in path]
    pinned = shop.locked()["runtimes"]["toy-cpu/1"]
    assert json.loads(said) == {"executable": {"sha256": pinned["executable"], "size": pinned["size"]}}


def test_a_machine_that_cannot_compile_says_what_is_missing(shop, tmp_path):
    shop.install(tool="raise UnavailableError('compiling a runtime needs c++', hints=('install it',))")
    done = shop.lftool("lock")
    assert (done.status, done.err.splitlines()[-2:]) == (
        8,
        ["error: compiling a runtime needs c++", "  hint: install it"],
    )


def test_a_compiler_that_fails_leaves_nothing(shop):
    shop.install(body="raise UnavailableError('compiling failed: no such header')")
    done = shop.lftool("lock")
    assert (done.status, "compiling failed: no such header" in done.err) == (8, True)
    assert not shop.project.lock.exists()


def test_sources_that_have_changed_are_noticed(shop, tmp_path):
    shop.lftool("lock").assert_success()
    archive(shop.project.root / "toy.tar.gz", b"int other;")
    done = shop.lftool("build", home=shop.elsewhere(tmp_path))
    assert done.status == 4
    assert "toy.tar.gz" in done.err


def test_a_runtime_for_another_backend_says_which_there_are(shop):
    shop.install(backend="'npu'")
    done = shop.lftool("lock")
    assert done.status == 8
    assert "no installed plugin has the runtime 'toy' for the backend 'cpu'; there is npu" in done.err


def test_none_is_no_runtime_for_a_bundle_that_starts_by_itself(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text().replace('"gguf"', '"llamafile"\nruntime = "none"'))
    done = plain_project.run("lock")
    assert (done.status, done.err) == (
        2,
        "error: layout 'llamafile' starts by itself and needs a runtime\n  hint: or use `layout = \"gguf\"`\n",
    )


def test_none_is_the_runtime_of_a_gguf(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text() + 'runtime = "none"\n')
    plain_project.run("lock").assert_success()
    assert "runtimes" not in tomllib.loads(plain_project.lock.read_text())


def test_compilers_end_when_lftool_is_killed(shop, tmp_path):
    """What the worker has started belongs to its process group, and goes with it."""
    mark = tmp_path / "compiler"
    shop.install(body=f"__import__('subprocess').run(['sh', '-c', 'echo $$ > {mark}; exec sleep 300'])")
    process = subprocess.Popen(
        [shop.interpreter, "-m", "lftool.cli.entry", "lock"],
        cwd=shop.project.root,
        env=shop.project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    compiler = Path(f"/proc/{mark.read_text().strip()}")
    assert compiler.exists()
    process.kill()
    process.wait()
    while compiler.exists():
        assert time.monotonic() < deadline, "the compiler goes on"
        time.sleep(0.05)
