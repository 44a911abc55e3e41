"""Tests of the example plugin: a source and a quantizer can be tested without running lftool."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from lftool_example.memory import MemoryOptions, MemorySource, ramp
from lftool_example.rounding import FILE_TYPE, Rounder, RoundOptions, clear_low_bits

from lftool.api import Artifact, InputFile, RecipeError, SourceContext, SourceFile, SourceRequest, TransformSpec
from lftool.api.gguf import read_gguf
from lftool.testing import tiny_gguf


def _source(width: int = 8) -> MemorySource:
    return MemorySource(SourceContext(project=Path(), options=MemoryOptions(width=width)))


def test_source_resolves_to_one_sound_gguf() -> None:
    (file,) = _source().resolve(SourceRequest(uri="mem:ramp")).files
    data = ramp(8)
    header = read_gguf(io.BytesIO(data), len(data), "ramp")
    assert (file.path, file.size, file.sha256) == ("ramp.gguf", len(data), Artifact.of(data).sha256)
    assert [tensor.name for tensor in header.tensors] == ["ramp.weight", "ramp_norm.weight"]


def test_source_delivers_the_whole_file() -> None:
    request, file = SourceRequest(uri="mem:ramp"), SourceFile(path="ramp.gguf", size=1)
    with _source().open(request, "", file, 0, None) as pieces:
        assert b"".join(pieces) == ramp(8)


def test_source_refuses_another_name() -> None:
    with pytest.raises(RecipeError, match=r"^source 'mem:hill': there is no such model$"):
        _source().resolve(SourceRequest(uri="mem:hill"))


def test_clearing_bits_rounds_towards_zero() -> None:
    weights = struct.pack("<4e", 1.9990234375, -1.9990234375, 0.0, 1.0)
    assert struct.unpack("<4e", clear_low_bits(weights, 2)) == (1.75, -1.75, 0.0, 1.0)


def test_keeping_all_bits_changes_nothing() -> None:
    weights = struct.pack("<65536H", *range(65536))
    assert clear_low_bits(weights, 10) == weights


def _inputs(path: Path) -> dict[str, InputFile]:
    return {"weights": InputFile(path=path, artifact=Artifact.of(path.read_bytes()))}


def test_output_has_the_planned_tensors_and_only_f16_changed(tmp_path: Path) -> None:
    inputs = _inputs(tiny_gguf(tmp_path / "model.gguf", width=32))
    spec = TransformSpec(produces=FILE_TYPE, options=RoundOptions(keep_bits=3))
    output, seen = tmp_path / "out.gguf", []
    Rounder().run(spec, inputs, output, 1, lambda name, index, count: seen.append((name, index, count)))
    before, after = inputs["weights"].path.read_bytes(), output.read_bytes()
    header = read_gguf(io.BytesIO(after), len(after), "output")
    made = [(tensor.name, tensor.type.name) for tensor in header.tensors]
    assert made == [(item.tensor, item.type) for item in Rounder().plan(spec, inputs).tensors]
    assert seen == [(name, index, len(made)) for index, (name, _) in enumerate(made, 1)]
    assert after[: header.data_offset] == before[: header.data_offset]
    for tensor in header.tensors:
        start = header.data_offset + tensor.offset
        old, new = before[start : start + tensor.size], after[start : start + tensor.size]
        assert new == (clear_low_bits(old, 3) if tensor.type.name == "F16" else old)


def test_weights_without_f16_are_refused(tmp_path: Path) -> None:
    inputs = _inputs(tiny_gguf(tmp_path / "model.gguf", width=32, kind="F32"))
    with pytest.raises(RecipeError, match=r"^the weights have no F16 tensor to round$"):
        Rounder().plan(TransformSpec(produces=FILE_TYPE, options=RoundOptions()), inputs)
