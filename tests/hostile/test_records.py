"""Outputs count as made only through a record: what a lock names, and what merely lies in the store, proves nothing."""

from __future__ import annotations

import attrs
import pytest
from tests.forging import forge, with_actions
from tests.splitting import split

from lftool.codec.locks import emit_lock, parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.models.digest import Artifact
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:parts"
[sources.other]
uri = "file:other.gguf"
[model]
weights = "base"
[targets.one]
layout = "gguf"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""


@pytest.fixture
def joined(project):
    """A model in two parts, which a converter joins, and another model beside it."""
    split(tiny_gguf(project.root.parent / "whole.gguf", layers=2), project.root / "parts", 5)
    tiny_gguf(project.root / "other.gguf", seed=9)
    project.write_recipe(RECIPE)
    project.run("lock").assert_success()
    return project


def naming_other(lock):
    """The converted weights are said to be the other model, which is a file of a source."""
    other = lock.sources["other"].files[0]
    stage = attrs.evolve(lock.convert["weights"], sha256=other.sha256, size=other.size)
    return attrs.evolve(lock, convert={"weights": stage})


@pytest.mark.slow_cases(r"\[one")
@pytest.mark.parametrize("target", ["one", "q8"])
def test_a_source_file_is_not_what_a_conversion_made(joined, target):
    forge(joined, naming_other)
    joined.run("fetch").assert_success()

    done = joined.run("build", target)

    assert done.status == 7
    assert "error: stage convert, weights: the lock names sha256 " in done.err
    assert not (joined.root / "dist").exists() or not list((joined.root / "dist").iterdir())


def test_what_was_quantised_from_another_model_does_not_hide_that(joined):
    """The cache knows what quantising the other model gives: the quantize stage alone would be found done."""
    honest = joined.lock.read_bytes()
    joined.write_recipe(RECIPE.replace('weights = "base"', 'weights = "other"'))
    joined.lock.unlink()
    joined.run("lock").assert_success()
    joined.run("build", "q8").assert_success()
    quantised = parse_lock(joined.lock.read_bytes(), "lock").targets["q8"].quantize
    joined.write_recipe(RECIPE)
    joined.lock.write_bytes(honest)

    def quantised_from_other(lock):
        stage = attrs.evolve(lock.targets["q8"].quantize, plan=quantised.plan)
        return naming_other(
            attrs.evolve(lock, targets={**lock.targets, "q8": attrs.evolve(lock.targets["q8"], quantize=stage)})
        )

    forged = forge(joined, quantised_from_other)
    stage = attrs.evolve(forged.targets["q8"].quantize, sha256=quantised.sha256, size=quantised.size)
    assert stage.action == quantised.action, "the cache has this very action"
    target = attrs.evolve(forged.targets["q8"], quantize=stage)
    joined.lock.write_bytes(emit_lock(attrs.evolve(forged, targets={**forged.targets, "q8": target})))

    done = joined.run("build", "q8")

    assert done.status == 7
    assert "stage convert, weights" in done.err


def test_locking_again_takes_no_conversion_from_the_old_lock(joined):
    honest = parse_lock(joined.lock.read_bytes(), "lock").convert["weights"].output
    forge(joined, naming_other)
    joined.run("fetch").assert_success()

    done = joined.run("lock", "--upgrade", "-v").assert_success()

    assert parse_lock(joined.lock.read_bytes(), "lock").convert["weights"].output == honest
    assert "convert.weights.sha256: " in done.out


def test_a_record_stays_when_its_weights_are_gone(joined):
    """What streamed through was never stored; the record of the conversion is enough for what was quantised from it."""
    joined.run("build", "q8").assert_success()
    for path in joined.root.glob("parts/*"):
        path.rename(joined.root / path.name)
    (joined.root / "dist" / "tiny-1-q8.gguf").unlink()

    done = joined.run("build", "q8")

    assert done.status == 0, done.err
    assert " convert " not in done.err


def test_a_recorded_bundle_gives_no_record(joined):
    """`lock --record` believes a bundle what its outputs are, for comparison; nothing was made here."""
    joined.run("build").assert_success()
    bundle = joined.root / "dist" / "tiny-1-q8.gguf"
    recipe = parse_recipe(joined.recipe.read_bytes(), "recipe")
    emptied = with_actions(parse_lock(joined.lock.read_bytes(), "lock"), recipe)
    joined.lock.write_bytes(emit_lock(emptied))
    elsewhere = attrs.evolve(joined, home=joined.home / "elsewhere")
    elsewhere.home.mkdir()
    elsewhere.run("lock", "--record", bundle).assert_success()
    bundle.unlink()

    done = elsewhere.run("build", "q8").assert_success()

    assert " quantize  q8  Q8_0, " in done.err


def test_rebuild_does_everything_again_and_compares(joined):
    joined.run("build").assert_success()
    before = (joined.root / "dist" / "tiny-1-q8.gguf").read_bytes()

    planned = joined.run("build", "--rebuild", "--dry-run").assert_success()
    done = joined.run("build", "--rebuild").assert_success()

    assert "cached" not in planned.out.replace(" MB  cached", "")
    assert " quantize  q8  Q8_0, " in done.err
    assert "  convert  weights  " in done.err
    assert (joined.root / "dist" / "tiny-1-q8.gguf").read_bytes() == before


def test_rebuild_finds_an_output_that_a_lock_invents(joined):
    joined.run("build").assert_success()
    lock = parse_lock(joined.lock.read_bytes(), "lock")
    wrong = Artifact.of(b"another")
    target = lock.targets["q8"]
    stage = attrs.evolve(target.quantize, sha256=wrong.sha256, size=wrong.size)
    joined.lock.write_bytes(
        emit_lock(attrs.evolve(lock, targets={**lock.targets, "q8": attrs.evolve(target, quantize=stage)}))
    )

    done = joined.run("build", "q8", "--rebuild")

    assert (done.status, "targets.q8, stage quantize: the lock names sha256" in done.err) == (7, True)


def test_records_of_the_format_before_are_not_read(joined):
    joined.run("build").assert_success()
    (joined.cache / "ac-v2").rename(joined.cache / "ac-v1")
    done = joined.run("build", "q8").assert_success()
    assert " quantize  q8  Q8_0, " in done.err
