"""Archives that tools come in hold code. The plugin names them, by digest; a lock that names another runs nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import attrs
import pytest
from attrs import frozen
from tests.forging import forge
from tests.sites import lftool_of

from lftool.codec.locks import emit_lock, parse_lock
from lftool.models.digest import Digest
from lftool.models.lock import LockedFile
from lftool.testing import Outcome, ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model"
[model]
weights = "base"
[targets.one]
layout = "gguf"
"""
PLUGIN = """
import pathlib, sys, zipfile
from lftool.errors import UnavailableError

class Toy:
    def tool(self):
        archive = ToolArchive(uri="file:scripts.tar.gz", sha256=Digest("{sha256}"), members=("*.py",))
        return ToolIdentity(version="{version}", files=(), archive=archive)

    def probe_inputs(self, use, folder):
        (folder / "model.safetensors").write_bytes(pathlib.Path({weights!r}).read_bytes())
        return {{"model.safetensors": folder / "model.safetensors"}}

    def plan(self, spec, inputs):
        return TransformPlan(parameters={{"name": spec.name}}, tensors=())

    def run(self, spec, inputs, output, threads, progress):
        with zipfile.ZipFile(spec.archive) as members:
            exec(members.read("convert.py"))
        output.write_bytes(pathlib.Path({gguf!r}).read_bytes())

@hookimpl
def lftool_converters():
    yield ConverterType(
        name="toy", summary="a toy", consumes=("safetensors",), produces=("source",), semantics="toy/1", factory=Toy
    )
"""
EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


def archive(path, code: str) -> None:
    data = code.encode()
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as out:
        info = tarfile.TarInfo("toy-1/convert.py")
        info.size = len(data)
        out.addfile(info, io.BytesIO(data))


@frozen(kw_only=True)
class Workshop:
    """A project whose converter runs scripts of an archive, and an archive that leaves a canary."""

    project: ProjectFolder
    interpreter: object
    site: object

    def install(self, version: str = "1") -> None:
        root = self.project.root
        sha256 = hashlib.sha256((root / "scripts.tar.gz").read_bytes()).hexdigest()
        code = PLUGIN.format(
            sha256=sha256,
            version=version,
            weights=str(root / "model" / "model.safetensors"),
            gguf=str(root.parent / "made.gguf"),
        )
        self.site.install("toy-scripts", code, entry="scripts")

    @property
    def canary(self):
        return self.project.root.parent / "canary"

    def lftool(self, *arguments: str) -> Outcome:
        return lftool_of(self.interpreter, self.project, *arguments, env={"LFTOOL_PLUGINS": "scripts"})


@pytest.fixture
def shop(site, project, interpreter) -> Workshop:
    (project.root / "model").mkdir()
    (project.root / "model" / "model.safetensors").write_bytes(EMPTY_SAFETENSORS)
    tiny_gguf(project.root.parent / "made.gguf", width=32)
    archive(project.root / "scripts.tar.gz", "pass")
    # The plugin's own confinement would hide a canary: these tests are about what is run, not about what it may do.
    project.write_configuration("[plugins]\nconfine = false\n")
    made = Workshop(project=project, interpreter=interpreter, site=site)
    archive(project.root / "evil.tar.gz", f"open({str(made.canary)!r}, 'w')")
    project.write_recipe(RECIPE)
    made.install()
    made.lftool("lock").assert_success()
    return made


def named_elsewhere(source):
    data = EVIL.read_bytes()
    file = LockedFile(path=EVIL.name, size=len(data), sha256=Digest.of(data))
    return attrs.evolve(source, uri=f"file:{EVIL.name}", files=(file,))


def same_name_other_bytes(source):
    data = EVIL.read_bytes()
    file = attrs.evolve(source.files[0], size=len(data), sha256=Digest.of(data))
    return attrs.evolve(source, files=(file,))


FORGERIES = {"another archive": named_elsewhere, "the genuine address, another digest": same_name_other_bytes}


@pytest.fixture(params=FORGERIES.values(), ids=FORGERIES.keys())
def forged(shop, request):
    global EVIL  # noqa: PLW0603 - what the forgeries read
    EVIL = shop.project.root / "evil.tar.gz"
    if request.param is same_name_other_bytes:
        (shop.project.root / "scripts.tar.gz").write_bytes(EVIL.read_bytes())
    tool = lambda lock: attrs.evolve(lock.tools["toy/1"], archive=request.param(lock.tools["toy/1"].archive))  # noqa: E731
    forge(shop.project, lambda lock: attrs.evolve(lock, tools={**lock.tools, "toy/1": tool(lock)}))
    return shop


@pytest.mark.slow_cases(r"options1\]")
@pytest.mark.parametrize("options", [(), ("--offline",), ("--rebuild",)])
def test_a_lock_cannot_choose_the_code_that_a_build_runs(forged, options):
    forged.lftool("fetch")

    done = forged.lftool("build", *options)

    assert done.status == 3
    assert "error: tool toy/1: the lock names the archive file:" in done.err
    assert "  hint: pin the plugin's: lftool lock\n" in done.err
    assert not forged.canary.exists()


def test_a_frozen_build_runs_no_code_of_a_lock_either(shop):
    """A lock with outputs, as --frozen demands: invented ones."""
    shop.lftool("build").assert_success()
    recorded = parse_lock(shop.project.lock.read_bytes(), "lock").targets["one"]
    data = (shop.project.root / "evil.tar.gz").read_bytes()
    file = LockedFile(path="evil.tar.gz", size=len(data), sha256=Digest.of(data))

    def change(lock):
        tool = lock.tools["toy/1"]
        bad = attrs.evolve(tool, archive=attrs.evolve(tool.archive, uri="file:evil.tar.gz", files=(file,)))
        return attrs.evolve(lock, tools={**lock.tools, "toy/1": bad})

    forged = forge(shop.project, change)
    pack = attrs.evolve(recorded.pack, action=forged.targets["one"].pack.action)
    target = attrs.evolve(forged.targets["one"], pack=pack)
    shop.project.lock.write_bytes(emit_lock(attrs.evolve(forged, targets={"one": target})))

    done = shop.lftool("build", "--frozen")

    assert (done.status, "error: tool toy/1: the lock names the archive" in done.err) == (3, True)
    assert not shop.canary.exists()


@pytest.mark.parametrize("command", [("lock", "--dry-run"), ("lock",), ("lock", "--upgrade", "--dry-run")])
def test_lock_takes_the_plugins_archive_and_shows_the_pin_that_moves(shop, command):
    evil = shop.project.root / "evil.tar.gz"
    data = evil.read_bytes()
    file = LockedFile(path="evil.tar.gz", size=len(data), sha256=Digest.of(data))
    genuine = hashlib.sha256((shop.project.root / "scripts.tar.gz").read_bytes()).hexdigest()

    def change(lock):
        tool = lock.tools["toy/1"]
        bad = attrs.evolve(tool, archive=attrs.evolve(tool.archive, uri="file:evil.tar.gz", files=(file,)))
        return attrs.evolve(lock, tools={**lock.tools, "toy/1": bad})

    forge(shop.project, change)

    done = shop.lftool(*command, "-v").assert_success()

    assert "     tool  toy/1: file:evil.tar.gz → file:scripts.tar.gz\n" in done.out
    assert "tools.\"toy/1\".archive.uri: 'file:evil.tar.gz' → 'file:scripts.tar.gz'\n" in done.out
    assert genuine in done.out
    assert not shop.canary.exists()


def test_the_plugins_pin_is_checked_before_the_archives(forged):
    forged.install(version="2")
    done = forged.lftool("build", "--rebuild")
    assert done.status == 8
    assert "plugin toy-scripts: the lock pins version 1.0" in done.err
    assert not forged.canary.exists()


def test_an_archive_takes_no_options(shop):
    lines = shop.project.lock.read_text().replace(
        'uri = "file:scripts.tar.gz"\n', 'uri = "file:scripts.tar.gz"\noptions = { token = "x" }\n'
    )
    shop.project.lock.write_text(lines)
    done = shop.lftool("build")
    assert done.status == 3
    assert "a tool's archive is one file, and takes no options" in done.err


def test_an_index_that_delivers_another_archive_is_refused(shop):
    """The plugin knows the digest; what the source says of its own file does not matter."""
    archive(shop.project.root / "scripts.tar.gz", f"open({str(shop.canary)!r}, 'w')")
    shop.project.lock.unlink()
    done = shop.lftool("lock")
    assert done.status == 4
    assert "error: tool toy/1: expected one archive of sha256 " in done.err
    assert not shop.canary.exists()
