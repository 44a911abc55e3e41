"""Files made of tiny-story under any arithmetic, by our kernels: what builds of llama.cpp would publish."""

from __future__ import annotations

import os
import shutil
import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen
from tests.functional.conftest import quantized_project, warm_project  # noqa: F401 - fixtures

from lftool.api import InputFile, TensorType, TransformSpec
from lftool.api.gguf import read_gguf
from lftool.models.digest import Artifact, Digest
from lftool.testing import ProjectFolder
from lftool_strict.arithmetics import PLAIN, fused_of
from lftool_strict.compiled import SIGMA, Kernels
from lftool_strict.quantizer import StrictQuantizer

if TYPE_CHECKING:
    from collections.abc import Callable

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"
GCC = f"{PLAIN}+fma/gcc-x86-64-v3"
CLANG = f"{PLAIN}+fma/clang-x86-64-v3"


@cache
def _kernels(fused: frozenset[str]) -> Kernels:
    return Kernels(fused)


@frozen
class Fusing:
    """Kernels of an arithmetic. A row's squares are summed for types with an importance matrix."""

    arithmetic: str
    row_type: str

    def get(self, name: str, kind: str, *, important: bool = False, exact: bool = False):
        made, matters = (self.row_type, True) if name == SIGMA else (name, important)
        fused = fused_of(self.arithmetic, made, important=matters)
        return _kernels(fused).get(name, kind, important=important, exact=exact)


def _input(path: Path) -> InputFile:
    return InputFile(path=path, artifact=Artifact(Digest("0" * 64), path.stat().st_size))


def make(
    base: Path,
    out: Path,
    file_type: str,
    arithmetic: str = PLAIN,
    imatrix: Path | None = None,
    overrides: dict[str, str] | None = None,
) -> Path:
    """Quantise a GGUF as a build with that arithmetic does."""
    spec = TransformSpec(
        produces=file_type,
        overrides=tuple(TensorType(tensor=name, type=kind) for name, kind in (overrides or {}).items()),
    )
    inputs = {"weights": _input(base), **({} if imatrix is None else {"imatrix": _input(imatrix)})}
    kernels = Fusing(arithmetic, file_type)
    StrictQuantizer().quantise(spec, inputs, out, os.cpu_count() or 1, lambda *_: None, kernels)
    return out


def tensor_place(path: Path, name: str) -> tuple[int, int, str]:
    """Return where a tensor begins in a file, its size, and its type."""
    with path.open("rb") as file:
        header = read_gguf(file, path.stat().st_size, path.name)
    found = next(item for item in header.tensors if item.name == name)
    return header.data_offset + found.offset, found.size, found.type.name


def changed(path: Path, name: str, change: Callable[[bytearray], object]) -> Path:
    """Change a tensor's bytes in place."""
    start, size, _ = tensor_place(path, name)
    data = bytearray(path.read_bytes())
    part = data[start : start + size]
    change(part)
    data[start : start + size] = part
    path.write_bytes(data)
    return path


def write_matrix(path: Path, base: Path) -> Path:
    """Write an importance matrix that covers every matrix of a model."""
    from lftool.api.gguf import TensorData, write_gguf

    tensors = []
    with base.open("rb") as file:
        header = read_gguf(file, base.stat().st_size, base.name)
    for tensor in header.tensors:
        if len(tensor.dimensions) < 2:
            continue
        columns = tensor.dimensions[0]
        sums = struct.pack(f"<{columns}f", *((at * 37 % 101 + 1) / 16 for at in range(columns)))
        tensors.append(TensorData(name=f"{tensor.name}.in_sum2", dimensions=(columns, 1), type="F32", data=sums))
        one = struct.pack("<f", 1.0)
        tensors.append(TensorData(name=f"{tensor.name}.counts", dimensions=(1, 1), type="F32", data=one))
    with path.open("wb") as file:
        write_gguf(file, {"general.type": "imatrix"}, tensors)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """A folder with the base; no recipe."""
    made = ProjectFolder(root=tmp_path / "files", home=tmp_path / "home")
    made.root.mkdir()
    made.home.mkdir()
    shutil.copy(STORY, made.root / "base.gguf")
    return made
