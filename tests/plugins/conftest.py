"""The llama.cpp plugin through the host's own worker, and llama.cpp's own function beside it."""

from __future__ import annotations

import ctypes
import hashlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import field, frozen

from lftool.api import (
    ConverterType,
    InputFile,
    QuantizerType,
    SourceContext,
    SourceRequest,
    TransformPlan,
    TransformSpec,
)
from lftool.api.gguf import TensorData, write_gguf
from lftool.host.isolated import Isolated
from lftool.host.registry import Registry
from lftool.host.workers import Workers
from lftool.models.digest import Artifact
from lftool.pipeline.tools.archives import _repack
from lftool_llamacpp.converter import HuggingFaceConverter

if TYPE_CHECKING:
    from collections.abc import Mapping

Importance = dict[str, tuple[list[float], int]]

# File types that cannot be made without an importance matrix.
NEED_IMPORTANCE = {"IQ1_M", "IQ1_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_XS", "IQ3_XXS", "Q2_K_S"}


def input_files(paths: Mapping[str, Path]) -> dict[str, InputFile]:
    return {role: InputFile(path=path, artifact=Artifact.of(path.read_bytes())) for role, path in paths.items()}


@frozen(kw_only=True)
class Plugin:
    """Calls of the quantizer in worker processes."""

    isolated: Isolated
    registered: object = field(factory=lambda: Registry.discovered().get(QuantizerType, "llama.cpp"))

    def plan(self, file_type: str, options: dict | None = None, **paths: Path) -> TransformPlan:
        spec = TransformSpec(produces=file_type)
        return self.isolated.plan(self.registered, spec, options or {}, input_files(paths))

    def run(
        self, file_type: str, output: Path, *, options: dict | None = None, threads: int = 1, **paths: Path
    ) -> list[tuple[str, int, int]]:
        """Quantise, and return the progress that was reported."""
        seen: list[tuple[str, int, int]] = []
        spec = TransformSpec(produces=file_type)
        inputs = input_files(paths)
        report = lambda *event: seen.append(event)  # noqa: E731 - a callback
        self.isolated.run(self.registered, spec, options or {}, inputs, output, threads, report)
        return seen

    def probe(self, use: str, output: Path) -> None:
        folder = output.with_name(f"inputs of {output.name}")
        folder.mkdir()
        self.run(use.removesuffix("+imatrix"), output, **self.isolated.probe_inputs(self.registered, use, folder))


@pytest.fixture
def plugin(tmp_path) -> Plugin:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Plugin(isolated=Isolated(scratch, Workers()))


@pytest.fixture(scope="session")
def quantize_directly():
    """`llama_model_quantize` called here, with nothing of ours: quantize(source, output, number, imatrix)."""
    import llama_cpp

    @llama_cpp.llama_log_callback
    def silent(level, text, user):
        pass

    def quantize(source: Path, output: Path, number: int, imatrix: dict[str, list[float]] | None = None) -> None:
        llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = number
        parameters.nthread = 2
        keep = []
        if imatrix:
            entries = (llama_cpp.llama_model_imatrix_data * (len(imatrix) + 1))()
            for entry, (name, values) in zip(entries, imatrix.items(), strict=False):
                keep.append((ctypes.c_float * len(values))(*values))
                entry.name, entry.data, entry.size = name.encode(), keep[-1], len(values)
            parameters.imatrix = entries
        status = llama_cpp.llama_model_quantize(str(source).encode(), str(output).encode(), ctypes.byref(parameters))
        assert status == 0

    return quantize


def importance_of(layers: int = 1, width: int = 256) -> Importance:
    """Sums of squared activations per column, and how many there were, of every matrix of `tiny_gguf`."""
    names = ["token_embd", "output"]
    for layer in range(layers):
        matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")
        names += [f"blk.{layer}.{name}" for name in matrices]
    return {
        f"{name}.weight": ([float((column * 7 + place * 13) % 101 + 1) for column in range(width)], 4)
        for place, name in enumerate(names)
    }


def write_gguf_imatrix(path: Path, entries: Importance, **changed: str) -> Path:
    tensors = []
    for name, (sums, count) in entries.items():
        data = struct.pack(f"<{len(sums)}f", *sums)
        tensors.append(TensorData(name=f"{name}.in_sum2", dimensions=(len(sums), 1), type="F32", data=data))
        counts = struct.pack("<f", count)
        tensors.append(TensorData(name=f"{name}.counts", dimensions=(1, 1), type="F32", data=counts))
    with path.open("wb") as file:
        write_gguf(file, {"general.type": "imatrix", **changed}, tensors)
    return path


def write_legacy_imatrix(path: Path, entries: Importance) -> Path:
    parts = [struct.pack("<i", len(entries))]
    for name, (sums, count) in entries.items():
        encoded = name.encode()
        parts += [struct.pack("<i", len(encoded)), encoded, struct.pack("<ii", count, len(sums))]
        parts.append(struct.pack(f"<{len(sums)}f", *sums))
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture(scope="session")
def imatrix_tools():
    """importance_of, write_gguf_imatrix and write_legacy_imatrix: importlib mode has no imports between test files."""
    return importance_of, write_gguf_imatrix, write_legacy_imatrix


@pytest.fixture(scope="session")
def sdist(tmp_path_factory) -> Path:
    """The source distribution of the llama-cpp-python that is installed, from the index."""
    from lftool_llamacpp.package_index import PackageIndexSource

    wanted = HuggingFaceConverter().tool().archive
    source = PackageIndexSource(SourceContext(project=Path()))
    request = SourceRequest(uri=wanted.uri, include=wanted.include, exclude=())
    found = source.resolve(request)
    path = tmp_path_factory.mktemp("sdist") / found.files[0].path
    with source.open(request, found.revision, found.files[0], 0, None) as pieces, path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == found.files[0].sha256.hex
    return path


@pytest.fixture(scope="session")
def archive(sdist, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "members.zip"
    _repack(sdist, path, HuggingFaceConverter().tool().archive, "the archive")
    return path


@pytest.fixture
def convert(tmp_path, archive):
    """Convert a folder of files through the host's worker: convert(folder, produces) -> path."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    isolated = Isolated(scratch, Workers())
    registered = Registry.discovered().get(ConverterType, "llama.cpp")
    count = 0

    def run(folder: Path, produces: str = "source", name: str = "tiny-story", seen: list | None = None) -> Path:
        nonlocal count
        count += 1
        paths = {path.name: path for path in sorted(folder.iterdir()) if path.suffix != ".py"}
        spec = TransformSpec(produces=produces, name=name, archive=archive)
        out = tmp_path / f"{count}.gguf"
        report = lambda *event: seen.append(event) if seen is not None else None  # noqa: E731 - a callback
        isolated.run(registered, spec, {}, input_files(paths), out, 2, report)
        return out

    return run
