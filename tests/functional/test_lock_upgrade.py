"""`lftool lock --upgrade`: the only way a pin moves, and it moves nothing else."""

from __future__ import annotations

import tomllib

import attrs
import pytest

from lftool.codec.locks import emit_lock, parse_lock
from lftool.models.digest import Digest
from lftool.pipeline.identity import transform_action
from lftool.testing import tiny_gguf

TWO_SOURCES = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[sources.matrix]
uri = "file:model.imatrix"

[model]
weights = "base"
imatrix = "matrix"

[targets.plain]
layout = "gguf"
"""


def tables(project) -> dict:
    return tomllib.loads(project.lock.read_text())


@pytest.fixture
def two_sources(project):
    """A locked project whose two source files have both changed since."""
    tiny_gguf(project.root / "model.gguf", width=32)
    matrix = project.root / "model.imatrix"
    matrix.write_bytes(b"first")
    project.write_recipe(TWO_SOURCES)
    project.run("lock").assert_success()
    tiny_gguf(project.root / "model.gguf", width=32, seed=1)
    matrix.write_bytes(b"second")
    return project


def test_one_source_moves_and_no_byte_outside_its_table(two_sources):
    before = two_sources.lock.read_text().split("\n\n")

    two_sources.run("lock", "--upgrade", "matrix").assert_success()

    after = two_sources.lock.read_text().split("\n\n")
    assert len(after) == len(before)
    moved = [new.splitlines()[0] for old, new in zip(before, after, strict=True) if old != new]
    assert moved == ["[sources.matrix]", "[[sources.matrix.files]]"]


def test_the_weights_move_with_the_actions_that_depend_on_them_and_nothing_else(two_sources):
    before = tables(two_sources)

    two_sources.run("lock", "--upgrade", "base").assert_success()

    after = tables(two_sources)
    assert after["sources"]["base"] != before["sources"]["base"]
    assert after["targets"]["plain"]["pack"]["action"] != before["targets"]["plain"]["pack"]["action"]
    before["sources"]["base"] = after["sources"]["base"]
    before["targets"]["plain"]["pack"]["action"] = after["targets"]["plain"]["pack"]["action"]
    assert after == before


def test_without_a_name_everything_moves(two_sources):
    before = tables(two_sources)["sources"]

    two_sources.run("lock", "--upgrade").assert_success()

    after = tables(two_sources)["sources"]
    assert after["base"] != before["base"]
    assert after["matrix"] != before["matrix"]


def test_several_names_may_be_given(two_sources):
    two_sources.run("lock", "--upgrade", "base", "--upgrade", "matrix").assert_success()
    by_name = two_sources.lock.read_bytes()

    two_sources.run("lock", "--upgrade").assert_success()

    assert two_sources.lock.read_bytes() == by_name


def test_a_source_that_has_not_changed_gives_the_same_lock(locked_project):
    before = locked_project.lock.read_bytes()

    outcome = locked_project.run("lock", "--upgrade", "base").assert_success()

    assert (outcome.out, outcome.err) == ("", "lftool.lock is unchanged\n")
    assert locked_project.lock.read_bytes() == before


def test_a_dry_run_shows_what_would_move(two_sources):
    before = two_sources.lock.read_bytes()

    outcome = two_sources.run("lock", "--upgrade", "matrix", "--dry-run", "-v").assert_success()

    assert [line.partition(":")[0] for line in outcome.out.splitlines()[1:]] == [
        "sources.matrix.files",
        "sources.matrix.revision",
    ]
    assert two_sources.lock.read_bytes() == before


def test_an_unknown_name_is_refused_with_the_valid_ones(quantized_project):
    before = quantized_project.lock.read_bytes()

    outcome = quantized_project.run("lock", "--upgrade", "bsae")

    assert (outcome.status, outcome.err) == (
        2,
        "error: nothing called 'bsae' to upgrade; valid: base, plugin:lftool-strict, tool:ggml-q/1, tool:strict\n",
    )
    assert quantized_project.lock.read_bytes() == before


def test_the_pin_of_a_plugin_moves_alone(quantized_project):
    fresh = quantized_project.lock.read_bytes()
    lock = parse_lock(fresh, "lock")
    pinned = attrs.evolve(lock.plugins["lftool-strict"], version="0.0.9", sha256=Digest("0" * 64))
    quantized_project.lock.write_bytes(emit_lock(attrs.evolve(lock, plugins={**lock.plugins, "lftool-strict": pinned})))

    outcome = quantized_project.run("lock", "--upgrade", "plugin:lftool-strict").assert_success()

    assert quantized_project.lock.read_bytes() == fresh
    assert outcome.out == "   plugin  lftool-strict: 0.0.9 → 0.1.0\n"


@pytest.fixture
def other_tool(quantized_project):
    """A project locked with a tool that makes other bits: its fingerprint, and the action that follows from it."""
    lock = parse_lock(quantized_project.lock.read_bytes(), "lock")
    tool = attrs.evolve(lock.tools["ggml-q/1"], fingerprints={"Q8_0": Digest("0" * 64)})
    stage = lock.targets["q8"].quantize
    inputs = {"weights": lock.sources["base"].files[0].artifact}
    stage = attrs.evolve(stage, action=transform_action("quantize", inputs, "ggml-q/1", "Q8_0", tool, stage.plan))
    target = attrs.evolve(lock.targets["q8"], quantize=stage, pack=None)
    lock = attrs.evolve(lock, tools={"ggml-q/1": tool}, targets={"q8": target})
    quantized_project.lock.write_bytes(emit_lock(lock))
    quantized_project.run("lock").assert_success()
    return quantized_project


def test_lock_keeps_the_fingerprint_of_another_tool(other_tool):
    assert tables(other_tool)["tools"]["ggml-q/1"]["fingerprints"] == {"Q8_0": "0" * 64}
    other_tool.run("lock", "--check").assert_success()


def test_a_tool_that_makes_other_bits_is_refused_and_not_used(other_tool, warm_project):
    real = tables(warm_project)["tools"]["ggml-q/1"]["fingerprints"]["Q8_0"]

    outcome = other_tool.run("build")

    assert outcome.status == 8
    assert outcome.err.splitlines()[-3:] == [
        (
            f"error: strict {tables(other_tool)['tools']['ggml-q/1']['providers']['strict']} does not reproduce ggml-q/1 for"
            f" Q8_0: the lock pins fingerprint {'0' * 64}, this machine's is {real}"
        ),
        (
            f"  hint: the lock was made with strict {tables(other_tool)['tools']['ggml-q/1']['providers']['strict']};"
            " what changes bits: lftool help determinism"
        ),
        "  hint: or accept this tool's bits: lftool lock --upgrade tool:ggml-q/1",
    ]
    assert not list((other_tool.root / "dist").iterdir())


@pytest.mark.parametrize("name", ["tool:ggml-q/1", "tool:strict"])
def test_the_pin_of_a_tool_moves_by_its_semantics_or_its_name(other_tool, warm_project, name):
    other_tool.run("lock", "--upgrade", name).assert_success()

    assert other_tool.lock.read_bytes() == warm_project.lock.read_bytes()


def test_a_changed_file_beside_the_weights_gives_a_bundle_that_can_be_built_again(project):
    """A slice lists every file of its sources, so a pack action must depend on all of them."""
    (project.root / "model").mkdir()
    tiny_gguf(project.root / "model" / "model.gguf", width=32)
    (project.root / "model" / "README.md").write_text("first")
    project.write_recipe(
        TWO_SOURCES.replace("file:model.gguf", "file:model")
        .replace('imatrix = "matrix"\n', "")
        .replace('[sources.matrix]\nuri = "file:model.imatrix"\n', "")
    )
    project.run("lock").assert_success()
    project.run("build").assert_success()
    (project.root / "model" / "README.md").write_text("second")
    project.run("lock", "--upgrade", "base").assert_success()

    project.run("build").assert_success()


def test_another_runtime_is_accepted_by_name_and_moves_nothing_else(plain_project):
    """As after an upgrade of lftool that brings another one: here the lock is the one that differs."""
    plain_project.write_recipe(plain_project.recipe.read_text().replace('layout = "gguf"', 'layout = "llamafile"'))
    plain_project.run("lock").assert_success()
    fresh = plain_project.lock.read_text()
    digest = tables(plain_project)["runtimes"]["python/1"]["sha256"]
    plain_project.lock.write_text(fresh.replace(digest, "ab" * 32))

    refused = plain_project.run("lock")
    assert (refused.status, refused.err) == (
        8,
        (
            f"error: runtime python/1: the lock pins sha256 {'ab' * 32}, installed is {digest}\n"
            "  hint: install the lftool or plugin that the lock was made with\n"
            "  hint: or accept the installed one: lftool lock --upgrade tool:python/1\n"
        ),
    )
    plain_project.run("lock", "--upgrade", "tool:python/1").assert_success()
    assert plain_project.lock.read_text() == fresh
