"""`lftool lock --record`: outputs from bundles that were built elsewhere."""

from __future__ import annotations

import shutil
import tomllib

import pytest

from lftool.testing import ProjectFolder, tiny_gguf


def copy_of(project, folder) -> ProjectFolder:
    """The project as another machine has it: same recipe, lock and files, no cache."""
    folder.mkdir()
    (folder / "home").mkdir()
    shutil.copytree(project.root, folder / "project", ignore=shutil.ignore_patterns("dist"))
    return ProjectFolder(root=folder / "project", home=folder / "home")


@pytest.fixture
def elsewhere(locked_project, tmp_path):
    """The same project on another machine, built there."""
    other = copy_of(locked_project, tmp_path / "elsewhere")
    other.run("build").assert_success()
    return other


def bundle_of(project):
    return project.root / "dist" / "tiny-1-plain.gguf"


def test_the_lock_is_the_one_that_the_other_machine_has(locked_project, elsewhere):
    outcome = locked_project.run("lock", "--record", bundle_of(elsewhere)).assert_success()

    assert (outcome.out, outcome.err) == ("", "recorded: plain\n")
    assert locked_project.lock.read_bytes() == elsewhere.lock.read_bytes()


def test_json_names_the_targets(locked_project, elsewhere):
    outcome = locked_project.run("lock", "--record", bundle_of(elsewhere), "--json").assert_success()

    assert outcome.json() == {"recorded": ["plain"]}


def test_afterwards_a_locked_build_makes_the_same_bundle(locked_project, elsewhere):
    locked_project.run("lock", "--record", bundle_of(elsewhere)).assert_success()

    locked_project.run("build", "--locked").assert_success()

    assert bundle_of(locked_project).read_bytes() == bundle_of(elsewhere).read_bytes()


def test_quantised_weights_are_recorded_too(quantized_project, tmp_path):
    other = copy_of(quantized_project, tmp_path / "elsewhere")
    other.run("build").assert_success()

    quantized_project.run("lock", "--record", other.root / "dist" / "tiny-1-q8.gguf").assert_success()

    assert quantized_project.lock.read_bytes() == other.lock.read_bytes()
    assert "sha256" in tomllib.loads(other.lock.read_text())["targets"]["q8"]["quantize"]


def test_the_signature_does_not_matter(locked_project, elsewhere):
    elsewhere.run("keygen", "-o", "release").assert_success()
    elsewhere.write_recipe(elsewhere.recipe.read_text() + '\n[sign]\nkey = "file:release.key"\n')
    elsewhere.run("build").assert_success()

    locked_project.run("lock", "--record", bundle_of(elsewhere)).assert_success()

    assert locked_project.lock.read_bytes() == elsewhere.lock.read_bytes()


def test_a_second_time_changes_nothing(locked_project, elsewhere):
    locked_project.run("lock", "--record", bundle_of(elsewhere)).assert_success()
    before = locked_project.lock.stat().st_mtime_ns

    locked_project.run("lock", "--record", bundle_of(elsewhere)).assert_success()

    assert locked_project.lock.stat().st_mtime_ns == before


def refused(project, bundle, status: int, message: str) -> None:
    before = project.lock.read_bytes()

    outcome = project.run("lock", "--record", bundle)

    assert (outcome.status, outcome.out, outcome.err) == (status, "", message)
    assert project.lock.read_bytes() == before


def test_a_bundle_of_another_recipe_is_refused(locked_project, elsewhere):
    elsewhere.write_recipe(elsewhere.recipe.read_text() + "\n[run]\ncontext = 64\n")
    elsewhere.run("lock").assert_success()
    elsewhere.run("build").assert_success()

    refused(
        locked_project,
        bundle_of(elsewhere),
        3,
        "error: tiny-1-plain.gguf was built from another recipe or lock: its lftool/recipe.toml differs from yours\n",
    )


def test_a_bundle_of_other_weights_is_refused(locked_project, elsewhere):
    tiny_gguf(elsewhere.root / "model.gguf", width=32, seed=1)
    elsewhere.run("lock", "--upgrade", "base").assert_success()
    elsewhere.run("build").assert_success()

    refused(
        locked_project,
        bundle_of(elsewhere),
        3,
        "error: tiny-1-plain.gguf was built from another recipe or lock: its lftool/lock.toml differs from yours\n",
    )


def test_a_bundle_of_a_target_that_is_not_ours_is_refused(locked_project, elsewhere):
    elsewhere.write_recipe(elsewhere.recipe.read_text() + '\n[targets.other]\nlayout = "gguf"\n')
    elsewhere.run("lock").assert_success()
    elsewhere.run("build").assert_success()

    refused(
        locked_project,
        elsewhere.root / "dist" / "tiny-1-other.gguf",
        2,
        "error: tiny-1-other.gguf is target 'other', which the recipe does not have\n",
    )


def test_a_bundle_that_is_not_what_it_says_is_refused(locked_project, elsewhere):
    data = bytearray(bundle_of(elsewhere).read_bytes())
    data[5000] ^= 1
    bundle_of(elsewhere).write_bytes(data)
    before = locked_project.lock.read_bytes()

    assert locked_project.run("lock", "--record", bundle_of(elsewhere)).status == 4
    assert locked_project.lock.read_bytes() == before


def test_another_output_than_the_recorded_one_is_not_reproducible(locked_project, elsewhere):
    locked_project.run("build").assert_success()
    text = locked_project.lock.read_text()
    recorded = tomllib.loads(text)["targets"]["plain"]["pack"]["sha256"]
    locked_project.lock.write_text(text.replace(recorded, "0" * 64))

    refused(
        locked_project,
        bundle_of(elsewhere),
        7,
        f"error: tiny-1-plain.gguf, stage pack: the lock names U {'0' * 64}, the bundle is {recorded}\n",
    )


def test_a_stale_lock_records_nothing(locked_project, elsewhere):
    locked_project.write_recipe(locked_project.recipe.read_text() + "\n[run]\ncontext = 64\n")

    refused(
        locked_project,
        bundle_of(elsewhere),
        3,
        "error: lftool.lock is stale:\n  run.context: added, 64\n  hint: bring it up to date: lftool lock\n",
    )


def test_a_file_that_is_no_bundle_is_refused(locked_project):
    refused_bundle = locked_project.root / "model.gguf"
    before = locked_project.lock.read_bytes()

    assert locked_project.run("lock", "--record", refused_bundle).status == 4
    assert locked_project.lock.read_bytes() == before
