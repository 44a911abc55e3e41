"""A corrupted cache: the next build notices, sets the blob aside, makes it again, and gives the same bundle."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from lftool.models.digest import Artifact, Digest
from lftool.store.stamps import identity
from lftool.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.testing import ProjectFolder


def source_weights(project: ProjectFolder) -> Artifact:
    return Artifact.of((project.root / "model.gguf").read_bytes())


def quantized_weights(project: ProjectFolder) -> Artifact:
    """What the lock says the quantize stage made."""
    section = project.lock.read_text().split("[targets.plain.quantize]")[1].split("\n[")[0]
    sha256, size = (
        re.search(r'^sha256 = "(.*)"$', section, re.MULTILINE),
        re.search(r"^size = (.*)$", section, re.MULTILINE),
    )
    assert sha256 is not None
    assert size is not None
    return Artifact(Digest(sha256[1]), int(size[1]))


def blob(project: ProjectFolder, artifact: Artifact) -> Path:
    return Store(project.cache).blobs.path(artifact)


def claim_checked(project: ProjectFolder, artifact: Artifact) -> None:
    """Stamp a blob as checked whatever is in it, as if its bytes had rotted on the disk after the check."""
    stamps = Store(project.cache).stamps
    status = blob(project, artifact).stat()
    path = stamps._path(status, "blob")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"stamp": identity(status), "facts": {"sha256": artifact.sha256.hex}}))
    assert Store(project.cache).blobs.is_sound(artifact)


@pytest.fixture
def built(quantized_project: ProjectFolder) -> ProjectFolder:
    quantized_project.run("build").assert_success()
    return quantized_project


@pytest.fixture
def plain_built(plain_project: ProjectFolder) -> ProjectFolder:
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    return plain_project


@pytest.mark.parametrize("dist", ["kept", "deleted"])
@pytest.mark.parametrize("stamp", ["no stamp", "a stamp that lies"])
@pytest.mark.parametrize("position", [0, 5000, -1])
def test_corrupted_source_weights_are_fetched_again(plain_built, flip, tree, dist, stamp, position):
    project = plain_built
    before, weights = tree(project.root), source_weights(project)
    bad = flip(blob(project, weights), position)
    if stamp != "no stamp":
        claim_checked(project, weights)
    if dist == "deleted":
        shutil.rmtree(project.root / "dist")
    project.run("build").assert_success()
    assert tree(project.root) == before
    if stamp == "no stamp" or dist == "deleted":  # a bundle that is there already is compared, the blob is not read
        assert (project.cache / "quarantine" / weights.sha256.hex).read_bytes() == bad
        assert blob(project, weights).read_bytes() == (project.root / "model.gguf").read_bytes()


@pytest.mark.parametrize("stamp", ["no stamp", "a stamp that lies"])
def test_corrupted_quantised_weights_are_made_again(built, flip, tree, stamp):
    before, weights = tree(built.root), quantized_weights(built)
    good = blob(built, weights).read_bytes()
    bad = flip(blob(built, weights))
    if stamp != "no stamp":
        claim_checked(built, weights)
    shutil.rmtree(built.root / "dist")
    built.run("build").assert_success()
    assert tree(built.root) == before
    assert (built.cache / "quarantine" / weights.sha256.hex).read_bytes() == bad
    assert blob(built, weights).read_bytes() == good


def test_corrupted_source_and_quantised_weights_are_made_again_together(built, flip, tree):
    before = tree(built.root)
    for weights in (source_weights(built), quantized_weights(built)):
        flip(blob(built, weights))
    shutil.rmtree(built.root / "dist")
    built.run("build").assert_success()
    assert tree(built.root) == before


def test_a_build_with_locked_repairs_the_cache_too(built, flip, tree):
    before = tree(built.root)
    flip(blob(built, quantized_weights(built)))
    shutil.rmtree(built.root / "dist")
    built.run("build", "--locked").assert_success()
    assert tree(built.root) == before


def test_every_blob_of_the_cache_may_be_corrupted_at_once(built, flip, tree):
    """Plans, fingerprints and documents are blobs as well."""
    before = tree(built.root)
    for artifact, _ in Store(built.cache).blobs.blobs():
        flip(blob(built, artifact))
    shutil.rmtree(built.root / "dist")
    built.run("build").assert_success()
    assert tree(built.root) == before


@pytest.mark.parametrize("kind", ["every blob but the weights", "plan alone"])
def test_a_corrupted_plan_is_made_again_when_the_weights_have_to_be(built, flip, tree, kind):
    before = tree(built.root)
    store = Store(built.cache)
    store.blobs.remove(quantized_weights(built))
    for artifact, _ in list(store.blobs.blobs()):
        path = blob(built, artifact)
        is_plan = b'"tensors"' in path.read_bytes()[:1000] or b"token_embd.weight" in path.read_bytes()[:300]
        if artifact != source_weights(built) and (is_plan or kind != "plan alone"):
            flip(path)
    shutil.rmtree(built.root / "dist")
    built.run("build").assert_success()
    assert tree(built.root) == before


def test_a_lock_for_a_new_target_makes_a_corrupted_source_again(built, flip):
    """Planning reads the source's header from the cache; a corrupted blob there is no reason to fail."""
    flip(blob(built, source_weights(built)), 40)
    built.write_recipe(built.recipe.read_text() + '[targets.more]\nquantize = "Q4_0"\nlayout = "gguf"\n')
    built.run("lock").assert_success()
    built.run("build").assert_success()


@pytest.mark.parametrize("position", [0, 4, -1])
def test_corrupted_facts_are_written_again(plain_built, flip, tree, position):
    project = plain_built
    before, weights = tree(project.root), source_weights(project)
    path = blob(project, weights)
    facts = path.with_name(path.name + ".facts")
    good = facts.read_bytes()
    flip(facts, position)
    shutil.rmtree(project.root / "dist")
    project.run("build").assert_success()
    assert tree(project.root) == before
    assert facts.read_bytes() == good


def test_corrupted_facts_do_not_enter_the_lock_of_a_first_build(plain_project, flip, tree, tmp_path):
    """The first build has nothing to compare with: a wrong CRC-32 must not become part of the bundle."""
    project = plain_project
    project.run("lock").assert_success()
    first = tree(project.root)
    project.run("build").assert_success()
    before = tree(project.root)
    shutil.rmtree(project.root / "dist")
    project.lock.write_bytes(first["project/lftool.lock"])
    path = blob(project, source_weights(project))
    flip(path.with_name(path.name + ".facts"), 0)
    project.run("build").assert_success()
    assert tree(project.root) == before


def test_a_truncated_blob_is_fetched_again(plain_built, tree):
    before, weights = tree(plain_built.root), source_weights(plain_built)
    path = blob(plain_built, weights)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-100])
    shutil.rmtree(plain_built.root / "dist")
    plain_built.run("build").assert_success()
    assert tree(plain_built.root) == before
    assert path.stat().st_size == weights.size


def test_a_corrupted_blob_whose_source_has_changed_is_an_error_that_says_so(plain_built, flip, tree):
    weights = source_weights(plain_built)
    flip(blob(plain_built, weights))
    changed = flip(plain_built.root / "model.gguf")
    before = tree(plain_built.root)
    outcome = plain_built.run("build")
    assert outcome.status == 4
    assert outcome.err.endswith(
        f"error: source 'base', file model.gguf: expected sha256 {weights.sha256} ({weights.size} bytes),"
        f" got {Digest.of(changed)} ({weights.size} bytes); it has changed since it was locked\n"
        "  hint: to accept the change: lftool lock --upgrade base\n"
    )
    assert tree(plain_built.root) == before


@pytest.mark.parametrize("change", ["flipped", "truncated", "extended", "deleted"])
def test_a_damaged_bundle_in_dist_is_written_again(plain_built, flip, tree, change):
    before = tree(plain_built.root)
    path = plain_built.root / "dist" / "tiny-1-plain.gguf"
    data = path.read_bytes()
    match change:
        case "flipped":
            flip(path, 4000)
        case "truncated":
            path.write_bytes(data[:-1])
        case "extended":
            path.write_bytes(data + b"!")
        case _:
            path.unlink()
    plain_built.run("build").assert_success()
    assert tree(plain_built.root) == before


def test_a_blob_that_was_put_back_meanwhile_is_not_set_aside(store):
    artifact = store.blobs.put_bytes(b"sound", "x")
    path = store.blobs.path(artifact)
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    seen = path.stat()
    path.unlink()
    store.blobs.put_bytes(b"sound", "x")

    store.blobs.quarantine(artifact, seen)

    assert path.read_bytes() == b"sound"
