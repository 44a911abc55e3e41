"""Joining split GGUFs: parts as gguf-py writes them, against llama.cpp that reads the very same parts."""

from __future__ import annotations

import re
import shutil
import tomllib

import gguf
import pytest
from tests.splitting import split

from lftool.api import InputFile, TransformSpec
from lftool.api.gguf import read_gguf
from lftool.builtin.join import GGUFJoin
from lftool.errors import FormatError
from lftool.models.digest import Artifact
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "split"
version = "1"
[sources.base]
uri = "file:parts"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""


@pytest.fixture
def whole(tmp_path):
    return tiny_gguf(tmp_path / "whole.gguf", layers=2)


@pytest.fixture
def parts(tmp_path, whole):
    return split(whole, tmp_path / "parts", 5)


@pytest.fixture
def split_project(project, parts):
    """A locked project whose model is split."""
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(RECIPE)
    project.run("lock").assert_success()
    return project


def inputs_of(paths) -> dict[str, InputFile]:
    return {path.name: InputFile(path=path, artifact=Artifact.of(path.read_bytes())) for path in paths}


def joined(paths, output):
    GGUFJoin().run(TransformSpec(produces="source"), inputs_of(paths), output, 1, lambda *_: None)
    return output


def contents(path) -> tuple[dict, list]:
    """Metadata without what numbers parts, and tensors with their bytes."""
    reader = gguf.GGUFReader(path)
    fields = {
        name: (field.types, field.contents())
        for name, field in reader.fields.items()
        if not name.startswith(("split.", "GGUF."))
    }
    tensors = [(t.name, t.tensor_type, list(t.shape), t.data.tobytes()) for t in reader.tensors]
    return fields, tensors


def forge_fingerprint(project) -> None:
    """Let the lock pin the join of another tool."""
    (pinned,) = tomllib.loads(project.lock.read_text())["tools"]["gguf-join/1"]["fingerprints"].values()
    project.lock.write_text(project.lock.read_text().replace(pinned, "0" * 64))


def forge_actions(project) -> None:
    """Give the lock the actions that its pins ask for, as somebody would who wants it to be believed."""
    while stale := re.search(
        r"\.action: ([0-9a-f]{64}), the pins give ([0-9a-f]{64})", project.run("lock", "--check").err
    ):
        project.lock.write_text(project.lock.read_text().replace(*stale.groups()))


def test_the_joined_file_holds_what_was_split(tmp_path, whole, parts):
    output = joined(parts, tmp_path / "joined.gguf")

    assert len(parts) > 2
    assert contents(output) == contents(whole)
    assert [name for name in gguf.GGUFReader(output).fields if name.startswith("split.")] == []


def test_a_first_part_without_tensors_is_joined(tmp_path, whole):
    parts = split(whole, tmp_path / "parts", 5, small_first_shard=True)

    assert contents(joined(parts, tmp_path / "joined.gguf")) == contents(whole)


def test_llama_cpp_makes_the_same_of_the_joined_file_as_of_the_parts(tmp_path, parts, quantize_directly):
    output = joined(parts, tmp_path / "joined.gguf")

    quantize_directly(output, tmp_path / "ours.gguf", 7)
    quantize_directly(parts[0], tmp_path / "theirs.gguf", 7)

    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


def test_the_plan_lists_all_tensors_in_order(whole, parts):
    with whole.open("rb") as file:
        expected = [(t.name, t.type.name) for t in read_gguf(file, whole.stat().st_size, "whole").tensors]

    plan = GGUFJoin().plan(TransformSpec(produces="source"), inputs_of(parts))

    assert [(item.tensor, item.type) for item in plan.tensors] == expected
    assert plan.parameters == {"parts": len(parts)}


def test_a_part_under_another_number_is_refused(tmp_path, parts):
    parts[1].write_bytes(parts[0].read_bytes())

    with pytest.raises(FormatError, match=r"model-00002-of-0000\d.gguf: expected part 1 of \d .* got part 0"):
        joined(parts, tmp_path / "joined.gguf")


def test_parts_of_another_file_are_refused(tmp_path, whole, parts):
    fewer = split(whole, tmp_path / "fewer", 20)

    with pytest.raises(FormatError, match="expected part 0"):
        joined([*fewer[:1], *parts[1:]], tmp_path / "joined.gguf")


def test_a_split_model_is_built_as_the_whole_one_is(project, whole, parts):
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(RECIPE)

    project.run("lock").assert_success()
    built = project.run("build").assert_success()
    project.run("build", "--locked", env={"XDG_CACHE_HOME": str(project.home / "new")}).assert_success()

    assert "convert" in project.lock.read_text()
    assert "gguf-join" in built.err
    plain = (project.root / "dist" / "split-1-plain.gguf").read_bytes()
    again = joined(parts, project.root / "joined.gguf").read_bytes()
    assert plain.startswith(again)


def test_another_fingerprint_is_another_bundle_and_can_be_accepted(split_project):
    forge_fingerprint(split_project)
    forge_actions(split_project)
    refused = split_project.run("build")
    assert (refused.status, "does not reproduce gguf-join/1 for source" in refused.err) == (8, True)

    split_project.run("lock", "--upgrade", "tool:gguf-join/1").assert_success()
    split_project.run("build").assert_success()
    split_project.run("build", "--locked").assert_success()


def test_locking_does_not_convert_with_a_tool_of_another_fingerprint(split_project):
    forge_fingerprint(split_project)

    failed = split_project.run("lock", env={"XDG_CACHE_HOME": str(split_project.home / "new")})

    assert failed.status == 8
    assert "does not reproduce gguf-join/1 for source" in failed.err


def test_a_damaged_part_is_named(project, parts):
    parts[2].write_bytes(b"hi")
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(RECIPE)

    failed = project.run("lock")

    assert failed.status == 4
    assert failed.err.startswith(f"error: {parts[2].name}: not a sound GGUF")


def test_one_part_of_one_is_a_whole_file(project, whole):
    (project.root / "parts").mkdir()
    shutil.copy(whole, project.root / "parts" / "model-00001-of-00001.gguf")
    project.write_recipe(RECIPE)

    project.run("lock").assert_success()
    project.run("build", "plain").assert_success()


def test_a_locked_conversion_that_comes_out_otherwise_is_not_reproducible(split_project):
    text = split_project.lock.read_text()
    digest = tomllib.loads(text)["convert"]["weights"]["sha256"]
    split_project.lock.write_text(text.replace(digest, "0" * 64))
    forge_actions(split_project)

    failed = split_project.run("build", "plain", env={"XDG_CACHE_HOME": str(split_project.home / "new")})

    assert failed.status == 7
    assert f"stage convert, weights: the lock names sha256 {'0' * 64}" in failed.err
    assert f"this build made sha256 {digest}" in failed.err
