"""Projects of strangers, through every command that reads one: no code of theirs runs, nothing outside is read or written, no secret leaves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from attrs import frozen
from tests.forging import forge
from tests.hostile.test_secrets import Recorder
from tests.known_tools import give

from lftool.codec.locks import emit_lock
from lftool.models.digest import Digest
from lftool.testing import ProjectFolder, tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.models.lock import Lock

ZEROS = "0" * 64
SECRET = "hunter2-this-must-go-nowhere"
OUTSIDE = b"what a file outside of the project holds\n"
DIGEST = hashlib.sha256(OUTSIDE).hexdigest()
HONEST = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.one]
layout = "gguf"
[targets.q8]
layout = "llamafile"
quantize = "Q8_0"
"""
COMMANDS = (
    ("lock",),
    ("lock", "--check"),
    ("lock", "--upgrade"),
    ("fetch",),
    ("outdated",),
    ("vendor", "vendored"),
    ("build",),
    ("build", "--locked"),
    ("build", "--rebuild"),
    ("cache", "push"),
)


@frozen(kw_only=True)
class Stage:
    """Where a hostile project is set up.

    Attributes:
        project: An honest project, locked and not yet built.
        outside: A folder beside it with the file `secret`.
        server: A server of the enemy's, as a URL; it writes down what it hears.
        touch: A command that leaves a file where code has run.
    """

    project: ProjectFolder
    outside: Path
    server: str
    touch: str

    def recipe(self, old: str, new: str) -> None:
        """Replace text of the recipe."""
        assert old in HONEST
        self.project.write_recipe(HONEST.replace(old, new))

    def lock(self, old: str, new: str) -> None:
        """Replace text of the lock."""
        text = self.project.lock.read_text()
        assert old in text
        self.project.lock.write_text(text.replace(old, new))

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file of the project."""
        path = self.project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def source(uri: str, more: str = "") -> Callable[[Stage], None]:
    """Return what names another source; OUTSIDE and SERVER stand for what the stage has."""

    def change(stage: Stage) -> None:
        host = stage.server.removeprefix("http://")
        put = {"OUTSIDE": str(stage.outside), "SERVER": stage.server, "HOST": host}
        text = f'uri = "{uri}"\n{more}'
        for name, value in put.items():
            text = text.replace(name, value)
        stage.recipe('uri = "file:model.gguf"', text)

    return change


def recipe(old: str, new: str) -> Callable[[Stage], None]:
    """Return what replaces text of the recipe."""
    return lambda stage: stage.recipe(old, new)


def added(text: str) -> Callable[[Stage], None]:
    """Return what adds text to the recipe."""
    return lambda stage: stage.project.write_recipe(HONEST + text.replace("OUTSIDE", str(stage.outside)))


def locked(old: str, new: str) -> Callable[[Stage], None]:
    """Return what replaces text of the lock."""
    return lambda stage: stage.lock(old, new)


def linked(name: str, target: str) -> Callable[[Stage], None]:
    """Return what puts a link into the project, which the recipe names."""

    def change(stage: Stage) -> None:
        (stage.project.root / "link").symlink_to(target.replace("OUTSIDE", str(stage.outside)))
        stage.recipe("file:model.gguf", f"file:{name}")

    return change


def pickled(stage: Stage) -> None:
    """A checkpoint of PyTorch, which is code."""
    stage.write("model/config.json", '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    stage.write("model/pytorch_model.bin", f"cos\nsystem\n(V{stage.touch}\ntR.")
    stage.recipe("file:model.gguf", "file:model")


def modelling(stage: Stage) -> None:
    """A model that brings code of its own, as transformers runs where it is told to."""
    code = f"import os\nos.system({stage.touch!r})\n"
    stage.write("model/config.json", '{"architectures": ["X"], "auto_map": {"AutoConfig": "code.Config"}}')
    stage.write("model/code.py", code)
    stage.write("model/__init__.py", code)
    stage.write("model/model.safetensors", (2).to_bytes(8, "little") + b"{}")
    stage.recipe("file:model.gguf", "file:model")


def modules(stage: Stage) -> None:
    """Modules that Python would find if it looked into the folder."""
    for name in (
        "sitecustomize",
        "usercustomize",
        "lftool",
        "lftool_llamacpp",
        "json",
        "tomllib",
        "numpy",
        "torch",
        "gguf",
    ):
        stage.write(f"{name}.py", f"import os\nos.system({stage.touch!r})\n")
    stage.write("evil-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    stage.write("evil-1.dist-info/entry_points.txt", "[lftool]\nevil = torch\n")


def commands(stage: Stage) -> None:
    """A repository whose configuration runs commands."""
    stage.write(".git/HEAD", "ref: refs/heads/main\n")
    stage.write(".git/config", f'[core]\nrepositoryformatversion = 0\nfsmonitor = "{stage.touch}"\n')
    for kind in ("objects", "refs"):
        (stage.project.root / ".git" / kind).mkdir()


def pipe(stage: Stage) -> None:
    """A file that never ends, and never begins."""
    os.mkfifo(stage.project.root / "pipe")
    stage.recipe("file:model.gguf", "file:pipe")


def configuration(stage: Stage) -> None:
    """The user's files, where the project would like them to be."""
    for name in ("config.toml", "credentials.toml", "trust.toml", "lftool/config.toml", ".config/lftool/config.toml"):
        stage.write(name, f'[roots]\nout = "{stage.outside}"\n[remote-store]\ntrust-records = true\n')
    stage.recipe("file:model.gguf", "file://out/secret")


def forged(
    change: Callable[[Lock], Lock], after: Callable[[Lock], Lock] = lambda lock: lock
) -> Callable[[Stage], None]:
    """Return what forges the lock: changed, every action computed anew, and changed again where actions do not cover it."""

    def forge_lock(stage: Stage) -> None:
        stage.project.lock.write_bytes(emit_lock(after(forge(stage.project, change))))

    return forge_lock


def with_source(**changes: object) -> Callable[[Lock], Lock]:
    """Return what changes the source's entry."""
    return lambda lock: attrs.evolve(lock, sources={"base": attrs.evolve(lock.sources["base"], **changes)})


def with_source_file(**changes: object) -> Callable[[Lock], Lock]:
    """Return what changes the entry of the source's file."""
    return lambda lock: with_source(files=(attrs.evolve(lock.sources["base"].files[0], **changes),))(lock)


def with_target(stage: str, make: Callable[[Lock], dict[str, object]]) -> Callable[[Lock], Lock]:
    """Return what changes a stage of the target q8."""

    def change(lock: Lock) -> Lock:
        target = lock.targets["q8"]
        made = attrs.evolve(target, **{stage: attrs.evolve(getattr(target, stage), **make(lock))})
        return attrs.evolve(lock, targets={**lock.targets, "q8": made})

    return change


def with_tools(**changes: object) -> Callable[[Lock], Lock]:
    """Return what changes every tool."""
    return lambda lock: attrs.evolve(
        lock, tools={name: attrs.evolve(tool, **changes) for name, tool in lock.tools.items()}
    )


def as_source(lock: Lock) -> dict[str, object]:
    """Return the source's file as an output of quantising."""
    file = lock.sources["base"].files[0]
    return {"sha256": file.sha256, "size": file.size}


def as_bundle(lock: Lock) -> dict[str, object]:
    """Return the source's file as a finished bundle."""
    return {**as_source(lock), "manifest": Digest(ZEROS)}


def planted(lock: Lock) -> dict[str, object]:
    """Return a file that nobody has as an output."""
    del lock
    return {"sha256": Digest(ZEROS), "size": 1}


def same(lock: Lock) -> Lock:
    """Return a lock as it is."""
    return lock


def archive_of(lock: Lock) -> Lock:
    """Return a lock whose tools come in an archive of the enemy's."""
    entry = attrs.evolve(lock.sources["base"], uri="pypi:evil==1")
    return with_tools(archive=entry)(lock)


PROJECTS: dict[str, Callable[[Stage], None]] = {
    "a source that climbs": source("file:../outside/secret"),
    "a source that climbs in the middle": source("file:x/../../outside/secret"),
    "a source that is absolute": source("file:OUTSIDE/secret"),
    "a folder that is absolute": source("file:OUTSIDE"),
    "a source that climbs, as a URL": source("file:%2e%2e/outside/secret"),
    "a link to a file": linked("link", "OUTSIDE/secret"),
    "a link to a folder": linked("link/secret", "OUTSIDE"),
    "a relative link": linked("link", "../outside/secret"),
    "a link to a descriptor": linked("link", "/proc/self/environ"),
    "a root that nobody named": source("file://out/secret"),
    "configuration in the project": configuration,
    "a pipe": pipe,
    "a device": linked("link", "/dev/zero"),
    "a variable as token": source("SERVER/model.gguf", 'options = { token = "env:SECRET" }'),
    "a variable as token, of a hub": source("hf://a/b", 'options = { token = "env:HF_TOKEN", endpoint = "SERVER" }'),
    "a hub of the enemy's": source("hf://a/b", 'options = { endpoint = "SERVER" }'),
    "a bucket of the enemy's": source("s3://bucket/model.gguf", 'options = { endpoint = "SERVER", region = "x" }'),
    "a registry of the enemy's": source("oci://HOST/a/b:1"),
    "a URL with a name": source("http://user:pass@HOST/model.gguf"),
    "a key that climbs": added('[sign]\nkey = "file:../outside/secret"\n'),
    "a key that is absolute": added('[sign]\nkey = "file:OUTSIDE/secret"\n'),
    "a key that is a secret of another kind": added('[sign]\nkey = "env:SECRET"\n'),
    "a text outside": added('[[checks]]\nkind = "perplexity"\nmax_increase = 1\ntext = "../outside/secret"\n'),
    "a schema outside": added('[[checks]]\nkind = "json-schema"\nprompt = "x"\nschema = "OUTSIDE/secret"\n'),
    "a bundle that climbs": recipe('name = "tiny"', 'name = "../outside/tiny"'),
    "a version that climbs": recipe('version = "1"', 'version = "/../../outside/1"'),
    "a target that climbs": recipe("[targets.one]", '[targets."../../outside/one"]'),
    "a runtime that is a file": recipe('layout = "llamafile"', 'layout = "llamafile"\nruntime = "../outside/secret"'),
    "a quantizer that is a module": recipe('quantize = "Q8_0"', 'quantize = "Q8_0"\nquantizer = "os:system"'),
    "a name that steers terminals": recipe('version = "1"', 'version = "1\\u001b]0;x\\u0007"'),
    "a lock of a file that climbs": locked('path = "model.gguf"', 'path = "../outside/secret"'),
    "a lock of an absolute file": locked('path = "model.gguf"', 'path = "/etc/hostname"'),
    "a lock of another source": locked('uri = "file:model.gguf"', 'uri = "file:../outside/secret"'),
    "a lock with options": locked("[sources.base]\n", '[sources.base]\noptions = { token = "env:SECRET" }\n'),
    "a lock of another plugin": locked("lftool-strict", "os"),
    "a lock with markers": locked("[sources.base]\n", "<<<<<<< ours\n[sources.base]\n"),
    "a forged path": forged(with_source_file(path="outside/secret")),
    "a forged source": forged(same, with_source(uri="file:../outside/secret")),
    "a forged source of a server": forged(
        same, with_source(uri="http://localhost:1/model.gguf", options={"token": "env:SECRET"})
    ),
    "a forged digest of the source": forged(with_source_file(sha256=Digest(ZEROS))),
    "a forged size of the source": forged(with_source_file(size=1)),
    "a forged output that is the source": forged(same, with_target("quantize", as_source)),
    "a forged output that nobody has": forged(same, with_target("quantize", planted)),
    "a forged bundle that is the source": forged(same, with_target("pack", as_bundle)),
    "a forged plan": forged(with_target("quantize", lambda _: {"plan": Digest(ZEROS)})),
    "a forged fingerprint": forged(with_tools(fingerprints={"Q8_0": Digest(ZEROS), "gguf": Digest(ZEROS)})),
    "a forged archive of tools": forged(archive_of),
    "a forged plugin": forged(
        lambda lock: attrs.evolve(
            lock, plugins={name: attrs.evolve(item, sha256=Digest(ZEROS)) for name, item in lock.plugins.items()}
        )
    ),
    "a forged runtime": forged(
        lambda lock: attrs.evolve(
            lock, runtimes={name: attrs.evolve(item, sha256=Digest(ZEROS)) for name, item in lock.runtimes.items()}
        )
    ),
    "a checkpoint that is code": pickled,
    "a model that brings code": modelling,
    "modules in the folder": modules,
    "a repository with commands": commands,
}


@frozen(kw_only=True)
class Victim(ProjectFolder):
    """A project whose user has secrets."""

    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.variables}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        yield server


@pytest.fixture(scope="module")
def honest(tmp_path_factory, known_tools) -> ProjectFolder:
    """The honest project, locked once."""
    parent = tmp_path_factory.mktemp("honest")
    project = ProjectFolder(root=parent / "project", home=parent / "home")
    project.root.mkdir()
    give(known_tools, project.home, archive=False)
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(HONEST)
    project.run("lock").assert_success()
    return project


@pytest.fixture
def stage(tmp_path, recorder, honest) -> Stage:
    root, home, outside = (tmp_path / name for name in ("project", "home", "outside"))
    shutil.copytree(honest.root, root)
    shutil.copytree(honest.home, home)
    outside.mkdir()
    (outside / "secret").write_bytes(OUTSIDE)
    variables = {
        "SECRET": SECRET,
        "HF_TOKEN": SECRET,
        "AWS_ACCESS_KEY_ID": f"id-{SECRET}",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "LFTOOL_REMOTE_STORE_TOKEN": SECRET,
        "LFTOOL_FETCH_ATTEMPTS": "1",
        "LFTOOL_STALL_SECONDS": "2",
    }
    project = Victim(root=root, home=home, variables=variables)
    ran = tmp_path / "code-has-run"
    return Stage(project=project, outside=outside, server=recorder.url, touch=f"touch {shlex.quote(str(ran))}")


def texts(folder: Path) -> Iterator[bytes]:
    """Return the contents of all files, and their names."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)).encode()
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                yield path.read_bytes()


def require_nothing(stage: Stage, recorder: Recorder, said: str) -> None:
    """Raise AssertionError if code ran, a secret left, or something outside was read or written."""
    assert not (stage.outside.parent / "code-has-run").exists()
    assert {path.name: path.read_bytes() for path in stage.outside.iterdir()} == {"secret": OUTSIDE}
    assert {path.name for path in stage.outside.parent.iterdir()} == {"project", "home", "outside"}
    assert SECRET not in recorder.heard
    assert "hunter2" not in said
    assert "Traceback" not in said
    assert "\x1b" not in said
    for told in (said.encode(), *texts(stage.project.root / "dist"), *texts(stage.project.root / "vendored")):
        assert DIGEST.encode() not in told
        assert OUTSIDE not in told
    for kept in texts(stage.project.cache):
        assert OUTSIDE not in kept
    assert DIGEST not in stage.project.lock.read_text(errors="replace")


def require_honest_bundles(stage: Stage, known_tools: Path) -> None:
    """Raise AssertionError if a bundle was made whose parts are not what its sources give."""
    made = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (stage.project.root / "dist").glob("*")
    }
    if made:
        shutil.rmtree(stage.project.root / "dist")
        shutil.rmtree(stage.project.cache)
        give(known_tools, stage.project.home, archive=False)
        stage.project.write_recipe(HONEST)
        stage.project.lock.unlink()
        stage.project.run("lock").assert_success()
        stage.project.run("build").assert_success()
        for path in (stage.project.root / "dist").iterdir():
            assert made.get(path.name) in {None, hashlib.sha256(path.read_bytes()).hexdigest()}, path.name


@pytest.mark.parametrize("change", PROJECTS.values(), ids=PROJECTS.keys())
def test_a_hostile_project_gets_nothing(stage, recorder, change, request, known_tools):
    change(stage)
    said = []
    for command in COMMANDS:
        done = stage.project.run(*command)
        assert 0 <= done.status <= 8, done
        said.append(done.out + done.err)
    require_nothing(stage, recorder, "\n".join(said))
    if "forged" in request.node.callspec.id:
        require_honest_bundles(stage, known_tools)


def test_a_model_that_brings_code_is_converted_without_it(stage, recorder, repository):
    """The real scripts of llama.cpp, with PyTorch and transformers, on a real model."""
    model = stage.project.root / "model"
    shutil.copytree(repository / "examples" / "tiny-story" / "tiny-story", model)
    code = f"import os\nos.system({stage.touch!r})\n"
    for name in (
        "code",
        "configuration_llama",
        "modeling_llama",
        "tokenization_llama",
        "__init__",
        "conversion",
        "torch",
    ):
        (model / f"{name}.py").write_text(code)
    for name, classes in (
        ("config.json", {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]}),
    ):
        told = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**told, "auto_map": classes}))
    (model / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(V{stage.touch}\ntR.".encode())
    stage.recipe("file:model.gguf", "file:model")
    said = []
    for command in (("lock",), ("build",), ("build", "--rebuild")):
        done = stage.project.run(*command)
        assert 0 <= done.status <= 8, done
        said.append(done.out + done.err)
    require_nothing(stage, recorder, "\n".join(said))
    assert done.status == 0, done.err


@pytest.mark.parametrize("change", [modules, commands])
def test_no_code_is_found_in_the_folder_that_lftool_is_started_in(stage, recorder, change):
    change(stage)
    said = []
    for command in (("lock", "--check"), ("build",), ("plugins", "list")):
        lftool = Path(sys.executable).parent / "lftool"
        done = subprocess.run(
            [lftool, *command],
            cwd=stage.project.root,
            env=stage.project.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        said.append(done.stdout + done.stderr)
    require_nothing(stage, recorder, "\n".join(said))


def test_an_honest_project_is_built(stage, recorder):
    for command in COMMANDS[:-1]:
        stage.project.run(*command).assert_success()
    assert sorted(path.name for path in (stage.project.root / "dist").iterdir()) == [
        "tiny-1-one.gguf",
        "tiny-1-q8.llamafile",
    ]
    require_nothing(stage, recorder, "")


def test_the_canaries_sing(stage, recorder):
    """What the others look for is found when it happens."""
    subprocess.run(shlex.split(stage.touch), check=True)
    with pytest.raises(AssertionError):
        require_nothing(stage, recorder, "")
