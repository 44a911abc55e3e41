"""Bundles of sound structure whose documents, signatures or weights are not what the format or the lock allows."""

from __future__ import annotations

import json

import pytest

from lftool.bundle.bundle_files import opened
from lftool.codec.canonical import canonical_json
from lftool.models.digest import Digest
from lftool.models.manifest import CHUNKS_PATH, LOCK_PATH, PROVENANCE_PATH, RECIPE_PATH, SBOM_PATH
from lftool.testing import rewrite_bundle, tiny_gguf

READERS = {
    "verify": ("verify", "--allow-unsigned"),
    "verify --full": ("verify", "--allow-unsigned", "--full"),
    "extract": ("extract",),
    "inspect": ("inspect",),
    "record": ("lock", "--record"),
}


@pytest.fixture
def built(locked_project):
    """A project and its unsigned bundle."""
    locked_project.run("build").assert_success()
    return locked_project, locked_project.root / "dist" / "tiny-1-plain.gguf"


def refusal(project, path, reader: str) -> tuple[int, str, str]:
    arguments = [*READERS[reader], path, *(["parts"] if reader == "extract" else [])]
    done = project.run(*arguments)
    assert not (project.root / "parts").exists()
    return done.status, done.out, done.err


@pytest.mark.parametrize("reader", READERS)
def test_a_signature_member_that_is_no_envelope_is_refused_by_every_reader(built, tmp_path, reader):
    project, bundle = built
    path = rewrite_bundle(bundle, tmp_path / "bad.gguf", signatures=[b"hidden"])

    assert refusal(project, path, reader) == (
        4,
        "",
        "error: bad.gguf: signature member: not canonical JSON: Expecting value: line 1 column 1 (char 0)\n",
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{}", "it does not say what the bundle was made from"),
        (b"[]", "it does not say what the bundle was made from"),
        (b"no json", "not canonical JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"a": 1}', "JSON is not in its canonical encoding"),
    ],
)
def test_a_provenance_that_is_none_is_refused_by_every_reader(built, tmp_path, reader, data, why):
    project, bundle = built
    path = rewrite_bundle(bundle, tmp_path / "bad.gguf", contents={PROVENANCE_PATH: data})

    assert refusal(project, path, reader) == (4, "", f"error: bad.gguf: {PROVENANCE_PATH}: {why}\n")


@pytest.mark.parametrize("reader", [name for name in READERS if name != "inspect"])
def test_a_bill_of_materials_in_another_spelling_is_refused(built, tmp_path, reader):
    project, bundle = built
    path = rewrite_bundle(bundle, tmp_path / "bad.gguf", contents={SBOM_PATH: b'{ "a":1}'})

    assert refusal(project, path, reader) == (
        4,
        "",
        f"error: bad.gguf: {SBOM_PATH}: JSON is not in its canonical encoding\n",
    )


def test_inspect_does_not_let_a_bundle_steer_the_terminal(built, tmp_path):
    project, bundle = built
    evil = b'{"buildDefinition":{"resolvedDependencies":[{"digest":{"sha256":"0"},"name":"\\u001b[2Jgone"}]}}'
    path = rewrite_bundle(bundle, tmp_path / "bad.gguf", contents={PROVENANCE_PATH: evil})

    out = project.run("inspect", path).assert_success().out
    verbose = project.run("inspect", "-v", path).assert_success().out

    assert "\x1b" not in out + verbose
    assert "made from  \\x1b[2Jgone\n" in out
    assert "made from  \\x1b[2Jgone  sha256 0…\n" in verbose


def test_a_bundle_whose_weights_are_not_the_locked_ones_is_not_recorded(built, tmp_path):
    project, bundle = built
    before = project.lock.read_bytes()
    other = tiny_gguf(tmp_path / "other.gguf", width=32, seed=1)
    data = other.read_bytes()
    path = rewrite_bundle(
        bundle, tmp_path / "bad.gguf", contents={"": data, CHUNKS_PATH: bytes.fromhex(Digest.of(data).hex)}
    )
    with opened(bundle) as found:
        pinned = found.manifest.prefix.sha256

    done = project.run("lock", "--record", path)

    assert (done.status, done.out, done.err) == (
        7,
        "",
        f"error: bad.gguf: its weights have sha256 {Digest.of(data)}, the lock gives {pinned}\n",
    )
    assert project.lock.read_bytes() == before


def test_a_bundle_that_begins_with_another_runtime_is_not_recorded(built, tmp_path):
    project, _ = built
    project.write_recipe(project.recipe.read_text().replace('layout = "gguf"', 'layout = "llamafile"'))
    project.run("lock").assert_success()
    project.run("build").assert_success()
    project.run("lock", "--upgrade").assert_success()
    bundle = project.root / "dist" / "tiny-1-plain.llamafile"
    with opened(bundle) as found:
        table = found.read_member(CHUNKS_PATH)
    prefix = b"#!/bin/sh\necho mine\n"
    chunks = bytes.fromhex(Digest.of(prefix).hex) + table[32:]
    path = rewrite_bundle(bundle, tmp_path / "bad.llamafile", contents={"": prefix, CHUNKS_PATH: chunks})

    done = project.run("lock", "--record", path)

    assert (done.status, done.out, done.err) == (
        7,
        "",
        "error: bad.llamafile: it does not begin with the runtime python/1 that the lock pins\n",
    )


def test_a_fifo_is_no_bundle(project, tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")

    done = project.run("verify", "--allow-unsigned", tmp_path / "pipe")

    assert (done.status, done.err) == (1, f"error: {tmp_path / 'pipe'} is not a regular file\n")


def test_a_fifo_is_no_source(plain_project):
    import os

    (plain_project.root / "model.gguf").unlink()
    os.mkfifo(plain_project.root / "model.gguf")

    done = plain_project.run("lock")

    path = plain_project.root / "model.gguf"
    assert (done.status, done.err) == (1, f"error: source 'file:model.gguf': {path} is not a regular file\n")


def slices(path) -> tuple[bytes, bytes, dict]:
    with opened(path) as bundle:
        return (
            bundle.read_member(RECIPE_PATH),
            bundle.read_member(LOCK_PATH),
            json.loads(bundle.read_member(PROVENANCE_PATH)),
        )


def telling(predicate: dict, **changed: bytes) -> bytes:
    """The provenance with the digests of changed slices: consistent as far as names and digests go."""
    names = {"recipe": RECIPE_PATH, "lock": LOCK_PATH}
    for item in predicate["buildDefinition"]["resolvedDependencies"]:
        for which, data in changed.items():
            if item["name"] == names[which]:
                item["digest"]["sha256"] = Digest.of(data).hex
    return canonical_json(predicate)


def with_recipe(recipe: bytes, lock: bytes, predicate: dict, new: bytes) -> dict:
    """A recipe in place of the one that was built, with a lock that says it is its."""
    lock = lock.replace(Digest.of(recipe).hex.encode(), Digest.of(new).hex.encode())
    return {RECIPE_PATH: new, LOCK_PATH: lock, PROVENANCE_PATH: telling(predicate, recipe=new, lock=lock)}


def with_lock(predicate: dict, new: bytes) -> dict:
    return {LOCK_PATH: new, PROVENANCE_PATH: telling(predicate, lock=new)}


LIES = {
    "a recipe that is none": (
        lambda recipe, lock, told: with_recipe(recipe, lock, told, b"# nothing"),
        "lftool/recipe.toml: $.bundle: missing",
    ),
    "a recipe with a comment": (
        lambda recipe, lock, told: with_recipe(recipe, lock, told, b"# by me\n" + recipe),
        "lftool/recipe.toml: it is not the canonical slice of one target",
    ),
    "a recipe of another name": (
        lambda recipe, lock, told: with_recipe(recipe, lock, told, recipe.replace(b'"tiny"', b'"tony"')),
        "lftool/recipe.toml: name, version, layout, backend or run contract differ from lftool/bundle.json",
    ),
    "a recipe of another target": (
        lambda recipe, lock, told: with_recipe(recipe, lock, told, recipe.replace(b"targets.plain", b"targets.other")),
        "lftool/recipe.toml: expected only the target plain, got other",
    ),
    "a recipe from elsewhere": (
        lambda recipe, lock, told: with_recipe(
            recipe, lock, told, recipe.replace(b"file:model.gguf", b"hf://org/famous")
        ),
        "lftool/lock.toml: its sources are not those of lftool/recipe.toml",
    ),
    "a lock that is none": (
        lambda recipe, lock, told: with_lock(told, b"x = 1"),
        "lftool/lock.toml: ",
    ),
    "a lock of another recipe": (
        lambda recipe, lock, told: with_lock(told, lock.replace(Digest.of(recipe).hex.encode(), b"0" * 64)),
        "lftool/lock.toml: it belongs to the recipe with sha256 " + "0" * 64,
    ),
    "slices that the provenance does not name": (
        lambda recipe, lock, told: {PROVENANCE_PATH: telling(told, lock=b"another")},
        "lftool/provenance.json: lftool/lock.toml has sha256 ",
    ),
    "sources that the lock does not name": (
        lambda recipe, lock, told: (
            told["buildDefinition"]["resolvedDependencies"].append(
                {"name": "source:x/y", "digest": {"sha256": "0" * 64}}
            )
            or {PROVENANCE_PATH: canonical_json(told)}
        ),
        "lftool/provenance.json: its dependencies differ from those in the slices",
    ),
}


@pytest.mark.slow_cases(r"-(verify --full|record)\]")
@pytest.mark.parametrize("reader", [name for name in READERS if name != "inspect"])
@pytest.mark.parametrize(("lie", "why"), LIES.values(), ids=LIES.keys())
def test_slices_that_do_not_say_what_the_provenance_says_are_refused(built, tmp_path, lie, why, reader):
    project, bundle = built
    path = rewrite_bundle(bundle, tmp_path / "bad.gguf", contents=lie(*slices(bundle)))

    status, out, err = refusal(project, path, reader)

    assert (status, out) == (4, "")
    assert err.startswith(f"error: bad.gguf: {why}")


def test_weights_that_the_slice_does_not_name_are_refused(built, tmp_path):
    """Another model, sound in itself, in a bundle whose lock pins the famous one."""
    project, bundle = built
    other = tiny_gguf(tmp_path / "other.gguf", width=32, seed=5).read_bytes()
    path = rewrite_bundle(
        bundle, tmp_path / "bad.gguf", contents={"": other, CHUNKS_PATH: bytes.fromhex(Digest.of(other).hex)}
    )

    status, out, err = refusal(project, path, "verify")

    assert (status, out) == (4, "")
    assert err == f"error: bad.gguf: its weights have sha256 {Digest.of(other)}, which lftool/lock.toml does not name\n"
