"""`lftool lock`: what it pins, what it keeps, what it says."""

from __future__ import annotations

import hashlib
import shutil
import tomllib

import attrs

from lftool.codec.locks import emit_lock, parse_lock
from lftool.testing import ProjectFolder, tiny_gguf

SECOND_TARGET = '\n[targets.second]\nlayout = "llamafile"\n'


def tables(project) -> dict:
    return tomllib.loads(project.lock.read_text())


def test_it_pins_every_file_of_a_source_by_size_and_sha256(plain_project):
    plain_project.run("lock").assert_success()

    data = (plain_project.root / "model.gguf").read_bytes()
    assert tables(plain_project)["sources"]["base"]["files"] == [
        {"path": "model.gguf", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    ]


def test_it_says_that_it_wrote_the_lock(plain_project):
    outcome = plain_project.run("lock").assert_success()

    assert outcome.err == "wrote lftool.lock\n"


def test_a_second_time_it_writes_the_same_bytes_and_says_so(locked_project):
    before = locked_project.lock.read_bytes()

    outcome = locked_project.run("lock").assert_success()

    assert (outcome.out, outcome.err) == ("", "lftool.lock is unchanged\n")
    assert locked_project.lock.read_bytes() == before


def test_two_projects_with_the_same_content_have_the_same_lock(locked_project, tmp_path):
    other = ProjectFolder(root=tmp_path / "elsewhere", home=tmp_path / "other-home")
    other.home.mkdir()
    shutil.copytree(locked_project.root, other.root)
    other.lock.unlink()

    other.run("lock").assert_success()

    assert other.lock.read_bytes() == locked_project.lock.read_bytes()


def test_it_says_what_moved_and_each_field_on_demand(locked_project):
    before = tables(locked_project)
    locked_project.write_recipe(locked_project.recipe.read_text() + "\n[run]\ncontext = 64\n")

    outcome = locked_project.run("lock", "--dry-run").assert_success()
    verbose = locked_project.run("lock", "-v").assert_success()

    after = tables(locked_project)
    moved = ["   recipe  run.context: added, 64", "   target  plain: packed anew"]
    assert outcome.out.splitlines() == moved
    assert verbose.out.splitlines() == [
        *moved,
        f"recipe.sha256: {before['recipe']['sha256']!r} → {after['recipe']['sha256']!r}",
        (
            "targets.plain.pack.action: "
            f"{before['targets']['plain']['pack']['action']!r} → {after['targets']['plain']['pack']['action']!r}"
        ),
    ]


def test_json_lists_the_changes(locked_project):
    assert locked_project.run("lock", "--json").assert_success().json() == {"changes": [], "written": False}


def test_a_dry_run_prints_the_changes_and_writes_nothing(plain_project):
    outcome = plain_project.run("lock", "--dry-run").assert_success()

    assert "   source  base: added, file:model.gguf" in outcome.out
    assert outcome.err == "nothing written\n"
    assert not plain_project.lock.exists()


def test_a_dry_run_leaves_an_existing_lock_alone(locked_project):
    before = locked_project.lock.read_bytes()
    locked_project.write_recipe(locked_project.recipe.read_text() + SECOND_TARGET)

    locked_project.run("lock", "--dry-run").assert_success()

    assert locked_project.lock.read_bytes() == before


def test_adding_a_target_keeps_the_outputs_of_the_others(locked_project):
    locked_project.run("build").assert_success()
    before = tables(locked_project)["targets"]["plain"]
    locked_project.write_recipe(locked_project.recipe.read_text() + SECOND_TARGET)

    locked_project.run("lock").assert_success()

    after = tables(locked_project)["targets"]
    assert "sha256" in before["pack"]
    assert after["plain"] == before
    assert after["second"]["pack"].keys() == {"action"}


def test_removing_a_target_removes_it_from_the_lock(locked_project):
    recipe = locked_project.recipe.read_text()
    before = locked_project.lock.read_bytes()
    locked_project.write_recipe(recipe + SECOND_TARGET)
    locked_project.run("lock").assert_success()
    locked_project.write_recipe(recipe)

    locked_project.run("lock").assert_success()

    assert locked_project.lock.read_bytes() == before


def test_a_change_of_the_run_contract_drops_the_output_it_invalidates(locked_project):
    locked_project.run("build").assert_success()
    locked_project.write_recipe(locked_project.recipe.read_text() + "\n[run]\ncontext = 64\n")

    locked_project.run("lock").assert_success()

    assert tables(locked_project)["targets"]["plain"]["pack"].keys() == {"action"}


def test_a_change_of_the_run_contract_keeps_the_quantised_weights(quantized_project):
    quantized_project.run("build").assert_success()
    before = tables(quantized_project)["targets"]["q8"]["quantize"]
    quantized_project.write_recipe(quantized_project.recipe.read_text() + "\n[run]\ncontext = 64\n")

    quantized_project.run("lock").assert_success()

    assert "sha256" in before
    assert tables(quantized_project)["targets"]["q8"]["quantize"] == before


def test_it_does_not_look_at_a_source_again_that_is_pinned(locked_project):
    before = locked_project.lock.read_bytes()
    tiny_gguf(locked_project.root / "model.gguf", width=32, seed=1)

    locked_project.run("lock").assert_success()

    assert locked_project.lock.read_bytes() == before


def test_it_keeps_the_pin_of_a_plugin_that_is_not_the_installed_one_and_says_what_to_do(quantized_project):
    lock = parse_lock(quantized_project.lock.read_bytes(), "lock")
    plugin = lock.plugins["lftool-strict"]
    pinned = attrs.evolve(plugin, version="0.0.9", sha256=attrs.evolve(plugin.sha256, hex="0" * 64))
    quantized_project.lock.write_bytes(emit_lock(attrs.evolve(lock, plugins={**lock.plugins, "lftool-strict": pinned})))
    before = quantized_project.lock.read_bytes()

    outcome = quantized_project.run("lock")

    assert (outcome.status, outcome.err) == (
        8,
        (
            f"error: plugin lftool-strict: the lock pins version 0.0.9 (sha256 {'0' * 64}),"
            f" installed is {plugin.version} (sha256 {plugin.sha256})\n"
            "  hint: install that: pip install lftool-strict==0.0.9\n"
            "  hint: or accept the installed one: lftool lock --upgrade plugin:lftool-strict\n"
        ),
    )
    assert quantized_project.lock.read_bytes() == before


def test_options_that_exclude_one_another_are_refused(locked_project):
    outcome = locked_project.run("lock", "--check", "--upgrade")

    assert outcome.status == 2
    assert outcome.err.splitlines()[-2] == (
        "error: use only one of --check, --upgrade and --record; --dry-run cannot be used with --check or --record"
    )


def test_the_lock_names_no_time_host_or_folder(locked_project):
    text = locked_project.lock.read_text()

    assert str(locked_project.root) not in text
    assert str(locked_project.home) not in text
