"""Weights as others make them: quantised in part, aligned otherwise, with rows that blocks do not divide."""

from __future__ import annotations

import struct

import pytest

from lftool.api.gguf import TensorData, write_gguf
from lftool.formats.gguf_read import read_gguf
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.one]
layout = "gguf"
quantize = "{}"
{}
"""
LLAMA_CPP = 'quantizer = "llama.cpp"'


def rewritten(path, *, alignment=None, types=None) -> None:
    """Write a GGUF again with another alignment, or tensors of other types, filled with zeros."""
    data = path.read_bytes()
    with path.open("rb") as file:
        header = read_gguf(file, len(data), "weights")
    metadata = {key: value for key, value in header.metadata.items() if isinstance(value, str | int | float)}
    if alignment is not None:
        metadata["general.alignment"] = alignment
    tensors = []
    for tensor in header.tensors:
        kind = (types or {}).get(tensor.name)
        start = header.data_offset + tensor.offset
        if kind is None:
            content, name = data[start : start + tensor.size], tensor.type.name
        else:
            content, name = bytes(256 // 32 * 17 * 256), kind
        tensors.append(TensorData(name=tensor.name, dimensions=tensor.dimensions, type=name, data=content))
    with path.open("wb") as file:
        write_gguf(file, metadata, tensors)


@pytest.fixture
def model(project):
    return tiny_gguf(project.root / "model.gguf")


@pytest.mark.parametrize("quantizer", ["", LLAMA_CPP], ids=["strict", "llama.cpp"])
def test_tensors_that_are_quantised_and_stay_as_they_are_are_no_hindrance(project, model, quantizer):
    """As gpt-oss: experts in MXFP4, the rest in 16 bits."""
    rewritten(model, types={"blk.0.ffn_up.weight": "MXFP4"})
    more = f'{quantizer}\noverrides = {{ "blk.0.ffn_up.weight" = "MXFP4" }}'
    project.write_recipe(RECIPE.format("Q8_0", more))
    project.run("lock").assert_success()
    (made,) = project.run("build", "--json").assert_success().json()["bundles"]
    with open(made["path"], "rb") as file:  # noqa: PTH123 - a path as text
        types = {tensor.name: tensor.type.name for tensor in read_gguf(file, None, "made").tensors}
    assert (types["blk.0.ffn_up.weight"], types["blk.0.ffn_down.weight"]) == ("MXFP4", "Q8_0")


@pytest.mark.parametrize("quantizer", ["", LLAMA_CPP], ids=["strict", "llama.cpp"])
def test_tensors_that_would_be_quantised_again_are_refused(project, model, quantizer):
    rewritten(model, types={"blk.0.ffn_up.weight": "MXFP4"})
    project.write_recipe(RECIPE.format("Q8_0", quantizer))
    done = project.run("lock")
    assert (done.status, done.err.splitlines()[0]) == (
        2,
        "error: targets.one: the weights are quantised already: tensor blk.0.ffn_up.weight is MXFP4",
    )


@pytest.mark.slow_cases(r"\[(8|64)\]")
@pytest.mark.parametrize("alignment", [8, 16, 64, 4096])
def test_strict_makes_sound_files_of_every_alignment(project, model, alignment):
    rewritten(model, alignment=alignment)
    project.write_recipe(RECIPE.format("Q8_0", ""))
    project.run("lock").assert_success()
    (made,) = project.run("build", "--json").assert_success().json()["bundles"]
    with open(made["path"], "rb") as file:  # noqa: PTH123 - a path as text
        assert read_gguf(file, None, "made").alignment == alignment


@pytest.mark.parametrize("alignment", [8, 16, 64, 4096])
def test_llama_cpp_makes_broken_ones_of_all_but_32_and_is_refused(project, model, alignment):
    rewritten(model, alignment=alignment)
    project.write_recipe(RECIPE.format("Q8_0", LLAMA_CPP))
    done = project.run("lock")
    assert (done.status, done.err) == (
        2,
        f"error: targets.one: tensors of the weights are aligned to {alignment} bytes, but the quantizer 'llama.cpp' supports only 32\n  hint: leave `quantizer` out, or choose a file type that another quantizer makes: lftool plugins list\n",
    )
    assert not project.lock.exists()


def test_a_file_type_that_cannot_be_made_names_target_and_tensor(project):
    tiny_gguf(project.root / "model.gguf", width=96)
    project.write_recipe(RECIPE.format("Q1_0", ""))
    done = project.run("lock")
    assert (done.status, done.err) == (
        2,
        (
            "error: targets.one: tensor token_embd.weight cannot become Q1_0: its rows have 96 weights, and a block 128\n"
            "  hint: choose another file type, or another type for this tensor under `overrides`\n"
        ),
    )


def test_lock_and_build_say_what_fell_back_and_what_it_came_to(project):
    tiny_gguf(project.root / "model.gguf", width=288)
    project.write_recipe(RECIPE.format("Q4_0", 'overrides = { "blk.0.ffn_up.weight" = "Q8_0" }'))
    assert "fell back" not in project.run("lock").assert_success().err
    assert "Q4_0, 0.5 MB, 5.42 bits a weight  " in project.run("build").assert_success().err


def test_lock_says_how_many_fell_back(project):
    tiny_gguf(project.root / "model.gguf", width=288)
    project.write_recipe(RECIPE.format("Q4_K_M", ""))
    said = "     note  targets.one: 8 of 12 tensors fall back to larger types, because their rows are not a multiple of 256:"
    assert said in project.run("lock").assert_success().err
    assert "bits a weight, 8 of 12 tensors fell back  " in project.run("build").assert_success().err


def test_a_name_that_no_runtime_loads_is_refused(project, model):
    header = struct.pack("<QQ", 1, 0)
    name = b"x" * 64
    tensor = struct.pack("<Q", 64) + name + struct.pack("<IQIQ", 1, 32, 0, 0)
    body = b"GGUF" + struct.pack("<I", 3) + header + tensor
    model.write_bytes(body + bytes(-len(body) % 32) + bytes(128))
    project.write_recipe(RECIPE.format("Q8_0", ""))
    done = project.run("lock")
    assert done.status == 4
    assert "a tensor name of 64 bytes, at most 63 are allowed" in done.err


def test_an_alignment_of_64_bits_is_refused(project, model):
    key = b"general.alignment"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 10, 32)
    tensor = struct.pack("<Q", 1) + b"x" + struct.pack("<IQIQ", 1, 32, 0, 0)
    body = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + entry + tensor
    model.write_bytes(body + bytes(-len(body) % 32) + bytes(128))
    project.write_recipe(RECIPE.format("Q8_0", ""))
    done = project.run("lock")
    assert done.status == 4
    assert "general.alignment is not a 32-bit number, and llama.cpp loads no other" in done.err
