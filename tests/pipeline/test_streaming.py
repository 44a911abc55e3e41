"""Weights that are converted and quantised in one go: the same bundles, and the intermediate is stored nowhere."""

from __future__ import annotations

import shutil
import tomllib

import pytest
from tests.plugins.test_join import split

from lftool.api.gguf import TensorData, write_gguf
from lftool.errors import StorageError
from lftool.models.digest import Artifact, Digest
from lftool.testing import ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "streamed"
version = "1"
[sources.base]
uri = "file:parts"
[model]
weights = "base"
[targets.q4]
layout = "gguf"
quantize = "Q4_K_M"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""
PLAIN = '[targets.plain]\nlayout = "gguf"\n'


@pytest.fixture
def streamed(project, tmp_path):
    """A project whose model is split and whose targets are all quantised."""
    parts = split(tiny_gguf(tmp_path / "whole.gguf", layers=2), tmp_path / "parts", 5)
    shutil.copytree(parts[0].parent, project.root / "parts")
    project.write_recipe(RECIPE)
    return project


def elsewhere(project, tmp_path) -> ProjectFolder:
    """The same project on another machine: nothing of it is in the cache."""
    shutil.copytree(project.root, tmp_path / "elsewhere" / "project")
    return ProjectFolder(root=tmp_path / "elsewhere" / "project", home=tmp_path / "elsewhere" / "home")


def intermediate(project) -> Artifact:
    stage = tomllib.loads(project.lock.read_text())["convert"]["weights"]
    return Artifact(Digest(stage["sha256"]), stage["size"])


def stored(project, artifact) -> bool:
    return (project.cache / "cas-v1" / artifact.sha256.hex[:2] / artifact.sha256.hex[2:]).exists()


def quantised(project) -> dict:
    targets = tomllib.loads(project.lock.read_text())["targets"]
    return {name: target["quantize"] for name, target in targets.items() if "quantize" in target}


def outputs(folder) -> dict:
    return {path.name: path.read_bytes() for path in sorted((folder / "dist").iterdir())}


def test_the_lock_names_the_intermediate_which_is_stored_nowhere(streamed) -> None:
    streamed.run("lock").assert_success()
    assert intermediate(streamed).size > 0
    assert not stored(streamed, intermediate(streamed))


def test_what_is_quantised_while_locking_is_not_quantised_again(streamed) -> None:
    streamed.run("lock").assert_success()
    done = streamed.run("build", "--no-sign").assert_success()
    lines = [line for line in done.err.splitlines() if "quantize" in line]
    assert len(lines) == 2
    assert all("cached" in line for line in lines)


@pytest.mark.slow
def test_bundles_are_those_of_a_build_that_stores_the_intermediate(streamed, tmp_path) -> None:
    other = elsewhere(streamed, tmp_path)
    other.write_recipe(RECIPE + PLAIN)
    for project in (streamed, other):
        project.run("lock").assert_success()
        project.run("build", "--no-sign").assert_success()
    assert stored(other, intermediate(other))
    assert intermediate(streamed) == intermediate(other)
    assert quantised(streamed) == quantised(other)


@pytest.mark.slow
def test_another_machine_builds_the_same_in_one_go(streamed, tmp_path) -> None:
    streamed.run("lock").assert_success()
    streamed.run("build", "--no-sign").assert_success()
    other = elsewhere(streamed, tmp_path)
    expected = outputs(streamed.root)
    shutil.rmtree(other.root / "dist")
    other.run("build", "--locked", "--no-sign").assert_success()
    assert outputs(other.root) == expected
    assert not stored(other, intermediate(other))


@pytest.mark.slow
def test_one_target_alone_can_be_built_in_one_go(streamed, tmp_path) -> None:
    streamed.run("lock").assert_success()
    streamed.run("build", "--no-sign").assert_success()
    other = elsewhere(streamed, tmp_path)
    shutil.rmtree(other.root / "dist")
    other.run("build", "q8", "--locked", "--no-sign").assert_success()
    assert outputs(other.root) == {"streamed-1-q8.gguf": outputs(streamed.root)["streamed-1-q8.gguf"]}


def test_targets_that_ask_for_the_same_are_quantised_once(streamed) -> None:
    streamed.write_recipe(RECIPE + '[targets.again]\nlayout = "gguf"\nquantize = "Q8_0"\n')
    done = streamed.run("lock").assert_success()
    assert sum("Q8_0" in line and "quantize" in line for line in done.err.splitlines()) == 1
    assert quantised(streamed)["again"] == quantised(streamed)["q8"]
    done = streamed.run("build", "--no-sign").assert_success()
    assert all("cached" in line for line in done.err.splitlines() if "quantize" in line)


def test_another_target_can_be_locked_from_the_header_and_then_built(streamed) -> None:
    streamed.run("lock").assert_success()
    streamed.write_recipe(RECIPE + '[targets.q6]\nlayout = "gguf"\nquantize = "Q6_K"\n')
    locked = streamed.run("lock").assert_success()
    assert "convert" not in locked.err  # the header was enough to plan from
    streamed.run("build", "--no-sign").assert_success()
    assert sorted(outputs(streamed.root)) == ["streamed-1-q4.gguf", "streamed-1-q6.gguf", "streamed-1-q8.gguf"]
    assert not stored(streamed, intermediate(streamed))


def test_a_target_that_is_packed_as_it_is_has_the_intermediate_stored(streamed) -> None:
    streamed.run("lock").assert_success()
    streamed.write_recipe(RECIPE + PLAIN)
    streamed.run("lock").assert_success()
    streamed.run("build", "--no-sign").assert_success()
    assert stored(streamed, intermediate(streamed))


def test_llama_cpp_reads_files_only_so_the_intermediate_is_stored(streamed) -> None:
    streamed.write_recipe(RECIPE + 'quantizer = "llama.cpp"\n')
    streamed.run("lock").assert_success()
    assert stored(streamed, intermediate(streamed))


@pytest.mark.slow
def test_other_bytes_than_the_lock_names_are_refused_every_time(streamed, tmp_path) -> None:
    streamed.run("lock").assert_success()
    streamed.run("build", "--no-sign").assert_success()
    other = elsewhere(streamed, tmp_path)
    shutil.rmtree(other.root / "dist")
    named = quantised(other)["q8"]["sha256"]
    other.lock.write_text(other.lock.read_text().replace(named, "0" * 64))
    for _ in range(2):
        done = other.run("build", "--locked", "--no-sign")
        assert done.status == 7
        assert named in done.err
        assert not (other.root / "dist").exists() or not list((other.root / "dist").iterdir())


def test_a_quantisation_that_cannot_be_planned_ends_the_conversion(streamed) -> None:
    streamed.write_recipe(RECIPE + '[targets.q8.overrides]\n"nothing.*" = "F16"\n')
    done = streamed.run("lock")
    assert done.status == 2, done.err
    assert "nothing.*" in done.err
    assert not streamed.lock.exists()


def test_weights_that_are_not_finite_are_named_and_nothing_is_left(streamed) -> None:
    part = min((streamed.root / "parts").iterdir())
    data = bytearray(part.read_bytes())
    data[-64:] = b"\x00\x7c" * 32  # infinities, in F16
    part.write_bytes(data)
    done = streamed.run("lock")
    assert done.status == 4, done.err
    assert "infinite or not a number" in done.err
    assert not streamed.lock.exists()
    assert not [path for path in (streamed.cache / "tmp").rglob("*") if path.is_file()]


def many_tensors(folder, count: int) -> None:
    """Write two parts of a GGUF that together have more tensors than a reader accepts."""
    folder.mkdir()
    for index in range(2):
        keys = {"general.architecture": "llama"} if index == 0 else {}
        tensors = [
            TensorData(name=f"t{index}.{number}", dimensions=(32,), type="F16", data=bytes(64))
            for number in range(count)
        ]
        with (folder / f"model-{index + 1:05}-of-00002.gguf").open("wb") as file:
            write_gguf(file, {**keys, "split.no": index, "split.count": 2, "split.tensors.count": 2 * count}, tensors)


def test_a_header_that_is_refused_ends_a_converter_that_still_writes(project) -> None:
    many_tensors(project.root / "parts", 40_000)
    project.write_recipe(RECIPE)
    done = project.spawn("lock", timeout=60)
    assert done.status == 4, done.err
    assert "80000 tensors, at most 65536 are allowed" in done.err


def test_a_converter_that_cannot_start_is_an_error_and_no_wait(streamed, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the disk is gone")

    monkeypatch.setattr("lftool.pipeline.stages.stream.input_files", refuse)
    done = streamed.run("lock")
    assert done.status == 1
    assert "the disk is gone" in done.err


def test_what_is_wrong_with_a_target_is_said_before_anything_is_converted(streamed) -> None:
    streamed.write_recipe(RECIPE.replace('layout = "gguf"\nquantize = "Q8_0"', 'layout = "gguv"\nquantize = "Q8_0"'))
    done = streamed.run("lock")
    assert done.status == 2
    assert "'gguv'" in done.err
    assert "convert" not in done.err


@pytest.mark.slow
def test_many_quantisations_are_not_made_in_one_pass(streamed) -> None:
    targets = "".join(
        f'[targets.t{index}]\nlayout = "gguf"\nquantize = "Q8_0"\noverrides = {{ "blk.{index // 3}.attn_{name}.weight" = "F16" }}\n'
        for index, name in enumerate("qkvqkv")
    )
    streamed.write_recipe(RECIPE + targets)
    streamed.run("lock").assert_success()
    assert stored(streamed, intermediate(streamed))
