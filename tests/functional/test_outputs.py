"""The first build records outputs; every later one must reproduce them or fail with exit 7."""

from __future__ import annotations

import hashlib
import tomllib
import zipfile

import attrs
import pytest

from lftool.codec.locks import emit_lock, parse_lock
from lftool.models.digest import Digest

OTHER = Digest("0" * 64)


def state(path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


def with_output(project, target: str, stage: str, **fields) -> None:
    """Write a lock that names another output for a stage, sound in every other respect."""
    lock = parse_lock(project.lock.read_bytes(), "lock")
    locked = lock.targets[target]
    changed = attrs.evolve(locked, **{stage: attrs.evolve(getattr(locked, stage), **fields)})
    project.lock.write_bytes(emit_lock(attrs.evolve(lock, targets={**lock.targets, target: changed})))


def pack_of(project) -> dict:
    return tomllib.loads(project.lock.read_text())["targets"]["plain"]["pack"]


@pytest.fixture
def built(locked_project):
    """`plain_project`, locked and built."""
    locked_project.run("build").assert_success()
    return locked_project


@pytest.fixture
def built_quantized(quantized_project):
    """The quantised project, built."""
    quantized_project.run("build").assert_success()
    return quantized_project


def test_the_first_build_records_what_it_made(locked_project):
    before = pack_of(locked_project)

    locked_project.run("build").assert_success()

    data = (locked_project.root / "dist" / "tiny-1-plain.gguf").read_bytes()
    after = pack_of(locked_project)
    assert before.keys() == {"action"}
    assert after == {
        "action": before["action"],
        "manifest": after["manifest"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }


def test_the_manifest_digest_is_that_of_the_member(built):
    with zipfile.ZipFile(built.root / "dist" / "tiny-1-plain.gguf") as archive:
        manifest = archive.read("lftool/bundle.json")

    assert pack_of(built)["manifest"] == hashlib.sha256(manifest).hexdigest()


def test_recording_changes_nothing_else_in_the_lock(quantized_project):
    before = tomllib.loads(quantized_project.lock.read_text())

    quantized_project.run("build").assert_success()

    after = tomllib.loads(quantized_project.lock.read_text())
    for stage, added in (("quantize", {"sha256", "size"}), ("pack", {"manifest", "sha256", "size"})):
        now, then = after["targets"]["q8"].pop(stage), before["targets"]["q8"].pop(stage)
        assert now.keys() - then.keys() == added
        assert {key: now[key] for key in then} == then
    assert after == before


def test_a_lock_with_outputs_is_fresh_and_locking_again_keeps_it(built):
    before = built.lock.read_bytes()

    built.run("lock", "--check").assert_success()
    built.run("lock").assert_success()

    assert built.lock.read_bytes() == before


def test_later_builds_do_not_touch_the_lock(built):
    before = state(built.lock)

    built.run("build", "-o", "again").assert_success()

    assert state(built.lock) == before


@pytest.mark.parametrize("options", [[], ["--locked"]])
def test_another_bundle_than_the_lock_names_is_refused(built, options):
    real = pack_of(built)
    with_output(built, "plain", "pack", manifest=OTHER, sha256=OTHER, size=1)
    bundle = built.root / "dist" / "tiny-1-plain.gguf"
    before, lock = state(bundle), state(built.lock)

    outcome = built.run("build", *options)

    assert outcome.status == 7
    assert outcome.err.splitlines()[-2] == (
        f"error: targets.plain, stage pack: the lock names M {OTHER} and U {OTHER} (1 bytes),"
        f" this build made M {real['manifest']} and U {real['sha256']} ({real['size']} bytes)"
    )
    assert (outcome.out, state(bundle), state(built.lock)) == ("", before, lock)
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_the_digest_of_the_bundle_alone_is_enough_to_refuse_it(built):
    real = pack_of(built)
    with_output(built, "plain", "pack", sha256=OTHER)

    outcome = built.run("build")

    assert outcome.status == 7
    assert outcome.err.splitlines()[-2] == (
        f"error: targets.plain, stage pack: the lock names M {real['manifest']} and U {OTHER} ({real['size']} bytes),"
        f" this build made M {real['manifest']} and U {real['sha256']} ({real['size']} bytes)"
    )


@pytest.mark.slow_cases(r"options0")
@pytest.mark.parametrize("empty_cache", [False, True])
@pytest.mark.parametrize("options", [[], ["--locked"]])
def test_other_weights_than_the_lock_names_are_refused(built_quantized, options, empty_cache, tmp_path):
    real = tomllib.loads(built_quantized.lock.read_text())["targets"]["q8"]["quantize"]
    with_output(built_quantized, "q8", "quantize", sha256=OTHER)
    bundle = built_quantized.root / "dist" / "tiny-1-q8.gguf"
    before, lock = state(bundle), state(built_quantized.lock)
    project = built_quantized
    if empty_cache:
        (tmp_path / "empty").mkdir()
        project = attrs.evolve(project, home=tmp_path / "empty")

    outcome = project.run("build", *options)

    assert outcome.status == 7
    assert outcome.err.splitlines()[-2:] == [
        (
            f"error: targets.q8, stage quantize: the lock names sha256 {OTHER} ({real['size']} bytes),"
            f" this build made sha256 {real['sha256']} ({real['size']} bytes)"
        ),
        "  hint: what this build made is in the cache; the tool or the machine differs in a way its fingerprint does not show",
    ]
    assert (outcome.out, state(bundle), state(project.lock)) == ("", before, lock)
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_a_refused_output_does_not_poison_the_cache(built_quantized):
    good = built_quantized.lock.read_bytes()
    with_output(built_quantized, "q8", "quantize", sha256=OTHER)
    assert built_quantized.run("build").status == 7
    built_quantized.lock.write_bytes(good)

    built_quantized.run("build", "--locked").assert_success()


def test_two_builds_of_different_targets_at_once_keep_each_other_s_outputs(locked_project):
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[targets.second]\nlayout = "llamafile"\n')
    locked_project.run("lock").assert_success()

    running = [locked_project.start("build", name) for name in ("plain", "second")]
    ended = [(process.communicate("", timeout=60), process.returncode) for process in running]

    assert [status for _, status in ended] == [0, 0]
    targets = tomllib.loads(locked_project.lock.read_text())["targets"]
    assert {name: sorted(target["pack"]) for name, target in targets.items()} == {
        "plain": ["action", "manifest", "sha256", "size"],
        "second": ["action", "manifest", "sha256", "size"],
    }
