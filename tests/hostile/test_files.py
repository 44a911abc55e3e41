"""Files that a project names lie in the project, or in a root that the user names. Nothing else is opened, hashed or shown."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

import attrs
import pytest
from tests.forging import forge

from lftool.api import ProjectFiles, local_file, local_files
from lftool.codec.locks import emit_lock, parse_lock
from lftool.errors import LftoolError, RecipeError, StorageError
from lftool.models.digest import Artifact
from lftool.store import contained
from lftool.store.contained import Contained, NotRegularError, OutsideError
from lftool.testing import tiny_gguf

CANARY = b"root:x:0:0: a file outside of the project\n"
SHOWN = hashlib.sha256(CANARY).hexdigest()


@pytest.fixture
def tree(tmp_path):
    """A folder with files, and what must not be reached around it."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"a")
    (folder / "sub" / "b").write_bytes(b"b")
    (tmp_path / "outside").write_bytes(CANARY)
    return folder


@pytest.fixture(params=[True, False], ids=["openat2", "component by component"])
def way(request, monkeypatch):
    """Both ways of opening: they refuse and allow the same."""
    if not request.param:
        monkeypatch.setattr(contained, "_at_once", lambda *_: None)


ALLOWED = {
    "a file": ("a", b"a", None),
    "below a folder": ("sub/b", b"b", None),
    "dots": ("./sub/./b", b"b", None),
    "up and down again": ("sub/../a", b"a", None),
    "a link to a file inside": ("link", b"b", "sub/b"),
    "a link up and inside": ("sub/link", b"a", "../a"),
}


@pytest.mark.parametrize(("path", "data", "target"), ALLOWED.values(), ids=ALLOWED.keys())
@pytest.mark.usefixtures("way")
def test_what_lies_inside_is_opened(tree, path, data, target):
    if target:
        (tree / path).symlink_to(target)
    with Contained(tree).open_file(path) as file:
        assert file.read() == data


REFUSED = {
    "up": ("../outside", OutsideError, None),
    "up after a folder": ("sub/../../outside", OutsideError, None),
    "absolute": ("/etc/hostname", OutsideError, None),
    "a link that leaves": ("link", OutsideError, "../outside"),
    "a link to a folder that leaves": ("link/outside", OutsideError, ".."),
    "an absolute link": ("link", OutsideError, "/etc/hostname"),
    "an absolute link back in": ("link", OutsideError, "TREE/a"),
    "a link to a device": ("link", OutsideError, "/dev/zero"),
    "a link to itself": ("link", OSError, "link"),
    "a folder": ("sub", NotRegularError, None),
    "nothing": ("nothing", FileNotFoundError, None),
    "below a file": ("a/b", NotADirectoryError, None),
    "a zero byte": ("a\0b", OutsideError, None),
    "descriptors of this process": ("link", OutsideError, "/proc/self/fd/0"),
}


@pytest.mark.parametrize(("path", "error", "target"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.usefixtures("way")
def test_what_leads_elsewhere_is_not(tree, path, error, target):
    if target:
        (tree / "link").symlink_to(target.replace("TREE", str(tree)))
    with pytest.raises(error):
        Contained(tree).open_file(path)


@pytest.mark.usefixtures("way")
def test_a_fifo_is_refused_and_does_not_hang(tree):
    os.mkfifo(tree / "fifo")
    with pytest.raises(NotRegularError):
        Contained(tree).open_file("fifo")


@pytest.mark.usefixtures("way")
def test_a_walk_leaves_out_what_is_no_file_and_refuses_links_that_leave(tree):
    os.mkfifo(tree / "fifo")
    (tree / "link").symlink_to("sub/b")
    assert list(Contained(tree).walk()) == ["a", "link", "sub/b"]
    (tree / "sub" / "out").symlink_to("../../outside")
    with pytest.raises(OutsideError):
        list(Contained(tree).walk())


def test_a_file_that_is_too_large_is_not_read(tree):
    with pytest.raises(OSError, match="it has more than 0 bytes"):
        Contained(tree).read("a", 0)


@pytest.fixture
def locked(plain_project):
    """A locked and built project, with a canary beside it."""
    (plain_project.root.parent / "canary").write_bytes(CANARY)
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    return plain_project


ESCAPES = [
    "file:../canary",
    "file:CANARY",
    "file://CANARY",
    "file:*/../../canary",
    "file:../*",
    "file:/etc/*",
    "file:/dev/zero",
]
COMMANDS = {
    "lock --check": ("lock", "--check"),
    "build --locked": ("build", "--locked"),
    "build": ("build",),
    "build --dry-run": ("build", "--dry-run"),
    "fetch": ("fetch",),
    "outdated": ("outdated",),
    "vendor": ("vendor", "out"),
}


@pytest.mark.slow_cases(r"\[(vendor|outdated|build --dry-run)-")
@pytest.mark.parametrize("uri", ESCAPES)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_address_of_a_fresh_lock_leaves_the_project(locked, uri, command):
    canary = locked.root.parent / "canary"
    uri = uri.replace("CANARY", str(canary))
    locked.write_recipe(locked.recipe.read_text().replace("file:model.gguf", uri))

    def change(lock):
        source = attrs.evolve(lock.sources["base"], uri=uri)
        return attrs.evolve(lock, sources={"base": source})

    forge(locked, change)

    done = locked.spawn(*command, timeout=30)

    shown = done.out + done.err
    assert SHOWN not in shown
    assert f"({len(CANARY)} bytes)" not in shown
    if command[0] in {"lock", "outdated"} or command == ("build",):
        assert done.status == 2, shown


@pytest.mark.slow_cases(r"\[(vendor|fetch|build --dry-run)-")
@pytest.mark.parametrize("target", ["../canary", "/dev/zero", "/etc/hostname", "FIFO"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_link_or_fifo_in_the_place_of_a_file_is_read(locked, target, command):
    model = locked.root / "model.gguf"
    model.rename(locked.root.parent / "model.gguf")
    if target == "FIFO":
        os.mkfifo(model)
    else:
        model.symlink_to(target)

    done = locked.spawn(*command, timeout=30)

    assert SHOWN not in done.out + done.err
    assert "got sha256" not in done.err


def test_a_file_that_is_swapped_for_a_link_is_not_followed(tree):
    """The descriptor that was opened is the one that is hashed."""
    with Contained(tree).open_file("a") as file:
        (tree / "a").unlink()
        (tree / "a").symlink_to("../outside")
        assert file.read() == b"a"


@pytest.mark.parametrize("name", ["../canary.txt", "link.txt", "/etc/hostname"])
def test_a_text_of_a_check_lies_in_the_project(locked, name):
    (locked.root.parent / "canary.txt").write_bytes(CANARY)
    (locked.root / "link.txt").symlink_to("../canary.txt")
    check = f'[[checks]]\nkind = "perplexity"\nmax_increase = 0.1\ntext = "{name}"\n'
    recipe = locked.recipe.read_text().replace('layout = "gguf"', 'layout = "gguf"\nquantize = "Q8_0"')
    locked.write_recipe(recipe + check)
    assert locked.run("lock").status == 2


def test_a_schema_of_a_check_lies_in_the_project(locked):
    (locked.root / "link.json").symlink_to("../canary")
    check = '[[checks]]\nkind = "json-schema"\nprompt = "x"\nschema = "link.json"\n'
    locked.write_recipe(locked.recipe.read_text() + check)
    done = locked.run("build")
    assert (done.status, "link.json is a link that points outside the recipe's folder" in done.err) == (2, True)


@pytest.fixture
def key(tmp_path, project):
    """A private key outside of the project."""
    (tmp_path / "keys").mkdir()
    project.run("keygen", "-o", tmp_path / "keys" / "release").assert_success()
    return tmp_path / "keys" / "release.key"


REFERENCES = ["file:../keys/release.key", "file:KEY", "file://KEY", "file:link.key"]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_signing_key_that_a_recipe_names_lies_in_the_project(locked, key, reference):
    (locked.root / "link.key").symlink_to(key)
    locked.write_recipe(locked.recipe.read_text() + f'[sign]\nkey = "{reference.replace("KEY", str(key))}"\n')

    done = locked.run("build")

    assert done.status == 2
    assert "--sign-key PATH, or [sign] key in your config.toml" in done.err


def test_a_key_elsewhere_comes_from_the_user(locked, key):
    locked.write_recipe(locked.recipe.read_text() + '[sign]\nkey = "env:NOT_SET"\n')
    public = key.with_suffix(".pub")

    locked.run("build", "--sign-key", key).assert_success()
    locked.run("verify", "--key", public, "dist/tiny-1-plain.gguf").assert_success()
    shutil.rmtree(locked.root / "dist")
    locked.write_configuration(f'[sign]\nkey = "{key}"\n')
    locked.run("build").assert_success()
    locked.run("verify", "--key", public, "dist/tiny-1-plain.gguf").assert_success()


def test_a_key_in_a_named_root_signs(locked, key):
    locked.write_configuration(f'[roots]\nkeys = "{key.parent}"\n')
    locked.write_recipe(locked.recipe.read_text() + '[sign]\nkey = "file://keys/release.key"\n')
    locked.run("build").assert_success()
    locked.run("verify", "--key", key.with_suffix(".pub"), "dist/tiny-1-plain.gguf").assert_success()


@pytest.mark.parametrize("content", [b"sekret", b"-----BEGIN PRIVATE KEY-----\nsekret\n-----END PRIVATE KEY-----\n"])
@pytest.mark.parametrize("options", [(), ("--traceback",)])
def test_what_a_key_reference_names_is_never_printed(locked, content, options):
    (locked.root / "some.key").write_bytes(content)
    locked.write_recipe(locked.recipe.read_text() + '[sign]\nkey = "file:some.key"\n')
    done = locked.run(*options, "build")
    assert done.status == 5
    assert "sekret" not in done.out + done.err


@pytest.fixture
def rooted(project):
    """A project whose weights lie in a root that the user names."""
    models = project.root.parent / "models"
    (models / "deep").mkdir(parents=True)
    tiny_gguf(models / "deep" / "model.gguf", width=32)
    (project.root.parent / "canary").write_bytes(CANARY)
    project.write_configuration(f'[roots]\nmodels = "{models}"\n')
    project.write_recipe(
        '[bundle]\nname = "tiny"\nversion = "1"\n[sources.base]\nuri = "file://models/deep/model.gguf"\n'
        '[model]\nweights = "base"\n[targets.plain]\nlayout = "gguf"\n'
    )
    return project


def test_weights_of_a_root_are_locked_built_and_watched(rooted):
    rooted.run("lock").assert_success()
    rooted.run("build").assert_success()
    assert "file://models/deep/model.gguf" in rooted.lock.read_text()
    tiny_gguf(rooted.root.parent / "models" / "deep" / "model.gguf", width=32, seed=3)
    assert rooted.run("lock", "--check").status == 4


@pytest.mark.parametrize("uri", ["file://models/deep", "file://models/*/*.gguf", "file://models"])
def test_a_root_has_folders_and_globs(rooted, uri):
    rooted.write_recipe(rooted.recipe.read_text().replace("file://models/deep/model.gguf", uri))
    rooted.run("lock").assert_success()
    rooted.run("build").assert_success()


@pytest.mark.parametrize(
    "uri", ["file://models/../canary", "file://models/link", "file://elsewhere/x", "file://models//etc/x"]
)
def test_a_root_is_not_left(rooted, uri):
    (rooted.root.parent / "models" / "link").symlink_to("../canary")
    rooted.write_recipe(rooted.recipe.read_text().replace("file://models/deep/model.gguf", uri))
    done = rooted.run("lock")
    assert done.status in {1, 2}
    assert SHOWN not in done.out + done.err


@pytest.fixture
def hub_cache(tmp_path):
    """A snapshot in the Hugging Face cache: links below snapshots/ lead to blobs/."""
    model = tmp_path / "hub" / "models--org--repo"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots" / "abc").mkdir(parents=True)
    tiny_gguf(model / "blobs" / "1234", width=32)
    (model / "snapshots" / "abc" / "model.gguf").symlink_to("../../blobs/1234")
    (tmp_path / "hub" / "canary").write_bytes(CANARY)
    (model / "snapshots" / "abc" / "evil.gguf").symlink_to("../../../canary")
    return model


@pytest.mark.parametrize("root", ["models--org--repo/snapshots/abc", "models--org--repo", "."])
def test_a_snapshot_of_the_hugging_face_cache_is_a_root(project, hub_cache, root):
    folder = hub_cache.parent / root
    path = (hub_cache / "snapshots" / "abc" / "model.gguf").relative_to(folder)
    project.write_configuration(f'[roots]\nhub = "{folder}"\n')
    project.write_recipe(
        f'[bundle]\nname = "tiny"\nversion = "1"\n[sources.base]\nuri = "file://hub/{path}"\n'
        '[model]\nweights = "base"\n[targets.plain]\nlayout = "gguf"\n'
    )
    project.run("lock").assert_success()
    project.run("build").assert_success()


def test_a_snapshot_reaches_its_models_blobs_and_no_further(hub_cache):
    files = ProjectFiles(project=hub_cache, roots={"hub": hub_cache / "snapshots" / "abc"})
    with local_file("file://hub/model.gguf", "model.gguf", files) as file:
        assert file.read(4) == b"GGUF"
    with pytest.raises(RecipeError):
        local_file("file://hub/evil.gguf", "evil.gguf", files)


def test_a_path_of_a_lock_does_not_climb_out_of_a_folder_source(tree):
    files = ProjectFiles(project=tree)
    with pytest.raises((StorageError, RecipeError)):
        local_file("file:sub", "../a", files)


@pytest.mark.parametrize("uri", ["file:nothing", "file:sub/nothing", "file:a/b"])
def test_what_is_not_there_is_said(tree, uri):
    with pytest.raises(LftoolError, match="there is no"):
        local_files(uri, ProjectFiles(project=tree))


def test_a_vendor_folder_with_links_and_fifos_gives_nothing(locked):
    locked.run("vendor", "vendored").assert_success()
    (blob,) = (locked.root / "vendored" / "cas-v1").glob("??/*")
    other = Artifact.of(CANARY)
    (blob.parent.parent / other.sha256.hex[:2]).mkdir(exist_ok=True)
    (blob.parent.parent / other.sha256.hex[:2] / other.sha256.hex[2:]).symlink_to(locked.root.parent / "canary")
    os.mkfifo(blob.parent.parent / other.sha256.hex[:2] / ("0" * 62))
    lock = parse_lock(locked.lock.read_bytes(), "lock")
    locked.lock.write_bytes(emit_lock(lock))

    done = locked.spawn(
        "build", "--locked", "--vendor", "vendored", env={"XDG_CACHE_HOME": str(locked.home / "new")}, timeout=30
    )

    assert done.status in {1, 2, 4}
    assert SHOWN not in done.out + done.err.replace(other.sha256.hex[2:], "")


@pytest.mark.parametrize("module", ["click", "tomlkit", "json", "attrs", "llama_cpp", "lftool_llamacpp"])
def test_a_module_beside_the_recipe_is_not_imported(plain_project, module):
    """`python -m` begins with the working folder on `sys.path`."""
    (plain_project.root / f"{module}.py").write_text("open('canary', 'w')\nraise SystemExit('planted')\n")
    command = [sys.executable, "-m", "lftool", "lock"]
    done = subprocess.run(
        command, cwd=plain_project.root, env=plain_project.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, (plain_project.root / "canary").exists()) == (0, False), done.stderr
