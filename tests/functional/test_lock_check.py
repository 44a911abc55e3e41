"""`lftool lock --check`: whether the lock is the recipe's, offline, without writing."""

from __future__ import annotations

import re
import tomllib

import pytest

from lftool.codec.toml_out import emit_toml

STALE_HINT = "  hint: bring it up to date: lftool lock\n"
OTHER = "f" * 64


def snapshot(project) -> dict:
    """Every file of the project and the cache, with its times: what a check must leave alone."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for folder in (project.root, project.home)
        for path in folder.rglob("*")
    }


def edit(project, change) -> None:
    """Let `change` edit the lock's tables; the result is still canonical TOML."""
    table = tomllib.loads(project.lock.read_text())
    change(table)
    project.lock.write_bytes(emit_toml(table))


def test_a_fresh_lock_is_fresh(locked_project):
    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.out, outcome.err) == (0, "", "lftool.lock is fresh\n")


def test_a_fresh_lock_is_fresh_in_json(locked_project):
    assert locked_project.run("lock", "--check", "--json").assert_success().json() == {
        "fresh": True,
        "missing_plugins": [],
    }


def test_the_difference_is_named_field_by_field(plain_project):
    recipe = plain_project.recipe.read_text()
    plain_project.write_recipe(recipe + "\n[run]\ntemperature = 0.0\n")
    plain_project.run("lock").assert_success()
    plain_project.write_recipe(recipe + "\n[run]\ntemperature = 0.5\n")

    outcome = plain_project.run("lock", "--check")

    assert (outcome.status, outcome.out, outcome.err) == (
        3,
        "",
        f"error: lftool.lock is stale:\n  run.temperature: '0' → '0.5'\n{STALE_HINT}",
    )


def test_added_and_removed_fields_are_named(plain_project):
    recipe = plain_project.recipe.read_text()
    plain_project.write_recipe(recipe + "\n[run]\ncontext = 64\n")
    plain_project.run("lock").assert_success()
    plain_project.write_recipe(recipe + "\n[run]\nseed = 7\n")

    assert plain_project.run("lock", "--check").err == (
        f"error: lftool.lock is stale:\n  run.context: removed, was 64\n  run.seed: added, 7\n{STALE_HINT}"
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("# a comment\n", id="a comment"),
        pytest.param('\n[sign]\nkey = "env:SOME_KEY"\n', id="the signing key"),
        pytest.param("\n\n\n", id="blank lines"),
    ],
)
def test_what_cannot_change_a_byte_does_not_make_it_stale(locked_project, change):
    locked_project.write_recipe(locked_project.recipe.read_text() + change)

    locked_project.run("lock", "--check").assert_success()


@pytest.mark.parametrize("stale", [False, True])
def test_it_never_writes(locked_project, stale):
    if stale:
        locked_project.write_recipe(locked_project.recipe.read_text() + "\n[run]\ncontext = 64\n")
    before = snapshot(locked_project)

    locked_project.run("lock", "--check")

    assert snapshot(locked_project) == before


def test_a_missing_lock_is_an_error(plain_project):
    outcome = plain_project.run("lock", "--check")

    assert (outcome.status, outcome.err) == (
        3,
        f"error: there is no lftool.lock in {plain_project.root}\n  hint: make one: lftool lock\n",
    )


def test_merge_markers_are_named_by_line(locked_project):
    lines = locked_project.lock.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("sha256"))
    lines[number : number + 1] = ["<<<<<<< ours", lines[number], "=======", f'sha256 = "{OTHER}"', ">>>>>>> theirs"]
    locked_project.lock.write_text("\n".join(lines) + "\n")

    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.err) == (
        3,
        (
            f"error: lftool.lock: line {number + 1} is a merge conflict marker\n"
            "  hint: take either side, then run `lftool lock`: it keeps every pin that still fits the recipe\n"
        ),
    )


def test_a_missing_sha256_is_an_error_and_not_a_skipped_check(locked_project):
    edit(locked_project, lambda table: table["sources"]["base"]["files"][0].pop("sha256"))

    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.err) == (
        3,
        "error: lftool.lock: $.sources.base.files[0].sha256: missing\n  hint: restore it from version control, or delete it and run `lftool lock` to pin everything again\n",
    )


def test_an_extra_key_is_an_error_with_the_nearest_valid_one(locked_project):
    edit(locked_project, lambda table: table["sources"]["base"].update({"revison": "x"}))

    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.err) == (
        3,
        (
            "error: lftool.lock: $.sources.base.revison: unknown key; did you mean 'revision'?\n"
            "  hint: restore it from version control, or delete it and run `lftool lock` to pin everything again\n"
        ),
    )


@pytest.mark.parametrize("key", ["lock-version", "rules"])
def test_a_future_version_is_refused_as_such(locked_project, key):
    edit(locked_project, lambda table: table.update({key: 2}))

    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.err) == (
        3,
        f"error: lftool.lock: {key} is 2, this lftool knows 1\n  hint: use the lftool that wrote it, or a newer one\n",
    )


def test_a_lock_that_is_not_toml_is_refused(locked_project):
    locked_project.lock.write_text("lock-version = \n")

    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.err) == (
        3,
        (
            "error: lftool.lock: not valid TOML: Invalid value (at line 1, column 16)\n"
            "  hint: restore it from version control, or delete it and run `lftool lock` to pin everything again\n"
        ),
    )


PLAIN_EDITS = {
    "the size of a file": lambda table: table["sources"]["base"]["files"][0].update(size=1),
    "the sha256 of a file": lambda table: table["sources"]["base"]["files"][0].update(sha256=OTHER),
    "the pack action": lambda table: table["targets"]["plain"]["pack"].update(action=OTHER),
    "the recipe's digest": lambda table: table["recipe"].update(sha256=OTHER),
    "the recipe's fields": lambda table: table["recipe"]["fields"].update({"bundle.name": "other"}),
    "the request": lambda table: table["sources"]["base"].update(uri="file:other.gguf"),
    "a target taken out": lambda table: table.update(targets={}),
    "a target put in": lambda table: table["targets"].update(other=table["targets"]["plain"]),
    "the revision": lambda table: table["sources"]["base"].update(revision=f"sha256:{OTHER}"),
}


@pytest.mark.parametrize("what", PLAIN_EDITS)
def test_a_pin_changed_by_hand_is_noticed(locked_project, what):
    edit(locked_project, PLAIN_EDITS[what])

    outcome = locked_project.run("lock", "--check")

    assert outcome.status == 3
    assert re.match(r"error: lftool\.lock is stale:\n  (recipe|bundle|sources|targets)\.", outcome.err)
    assert outcome.err.endswith(STALE_HINT)


def test_a_changed_size_is_noticed_by_the_action_of_the_stage_that_reads_the_file(locked_project):
    action = tomllib.loads(locked_project.lock.read_text())["targets"]["plain"]["pack"]["action"]
    edit(locked_project, lambda table: table["sources"]["base"]["files"][0].update(size=1))

    outcome = locked_project.run("lock", "--check")

    assert (outcome.status, outcome.out) == (3, "")
    assert re.fullmatch(
        r"error: lftool\.lock is stale:\n"
        rf"  targets\.plain\.pack\.action: {action}, the pins give [0-9a-f]{{64}}\n"
        r"  hint: bring it up to date: lftool lock\n",
        outcome.err,
    )


QUANTIZE_EDITS = {
    "the plan": lambda table: table["targets"]["q8"]["quantize"].update(plan=OTHER),
    "the quantize action": lambda table: table["targets"]["q8"]["quantize"].update(action=OTHER),
    "the fingerprint": lambda table: table["tools"]["ggml-q/1"]["fingerprints"].update(Q8_0=OTHER),
    "the size of the weights": lambda table: table["sources"]["base"]["files"][0].update(size=1),
    "the sha256 of the weights": lambda table: table["sources"]["base"]["files"][0].update(sha256=OTHER),
}


@pytest.mark.parametrize("what", QUANTIZE_EDITS)
def test_a_pin_of_a_quantised_target_changed_by_hand_is_noticed(quantized_project, what):
    locked = tomllib.loads(quantized_project.lock.read_text())["targets"]["q8"]["quantize"]["action"]
    edit(quantized_project, QUANTIZE_EDITS[what])

    outcome = quantized_project.run("lock", "--check")

    action = OTHER if what == "the quantize action" else locked
    assert outcome.status == 3
    assert outcome.err.startswith(
        f"error: lftool.lock is stale:\n  targets.q8.quantize.action: {action}, the pins give "
    )


def test_the_digest_of_a_runtime_changed_by_hand_is_noticed(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text().replace('"gguf"', '"llamafile"'))
    plain_project.run("lock").assert_success()
    edit(plain_project, lambda table: table["runtimes"]["python/1"].update(sha256=OTHER))

    assert plain_project.run("lock", "--check").status == 3
