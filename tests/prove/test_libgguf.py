"""A quantiser of another author, libgguf from the package index, as a second oracle: what it makes is proved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from attrs import frozen
from tests.prove.conftest import STORY, write_matrix
from tests.strict.conftest import MADE

from lftool.api.gguf import GGML_TYPES, TensorData, read_gguf, write_gguf
from lftool_strict.arithmetics import PLAIN

if TYPE_CHECKING:
    from lftool.testing import ProjectFolder

pytestmark = pytest.mark.slow
LOCK = Path(__file__).parents[2] / "requirements" / "oracles.lock"
# Columns of the matrices that are quantised.
COLUMNS = 256
# Not in libgguf 0.2.2.
_NOT_OFFERED = {"Q2_0"}
# libgguf 0.2.2 has the code from before that commit.
_OLDER = {"IQ1_M": f"{PLAIN}/before-f95b0d9539"}
_QUANTISE = """\
import sys
import numpy as np
from libgguf import GGMLQuantizationType, quantize_rows
kind, given, out = sys.argv[1:]
with np.load(given) as arrays:
    importance = arrays.get("importance")
    made = {
        name: np.ascontiguousarray(quantize_rows(arrays[name], GGMLQuantizationType[kind], imatrix=importance))
        for name in arrays
        if name != "importance"
    }
np.savez(out, **made)
"""


@frozen
class Libgguf:
    """libgguf, in a folder of its own, and a folder for what it is given."""

    packages: Path
    scratch: Path

    def blocks(self, kind: str, arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
        """Quantise arrays; that of the name `importance` is the importance of their columns."""
        given, out = self.scratch / "given.npz", self.scratch / "out.npz"
        np.savez(given, **arrays)
        subprocess.run(
            [sys.executable, "-c", _QUANTISE, kind, str(given), str(out)],
            env={**os.environ, "PYTHONPATH": str(self.packages)},
            check=True,
        )
        with np.load(out) as made:
            return {name: made[name].tobytes() for name in made}


@pytest.fixture(scope="module")
def libgguf(tmp_path_factory: pytest.TempPathFactory) -> Libgguf:
    packages = tmp_path_factory.mktemp("libgguf")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*install, "--require-hashes", "--only-binary", ":all:", "--target", str(packages), "-r", str(LOCK)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"libgguf has no wheel for this Python or machine: {done.stderr.strip().splitlines()[-1]}")
    return Libgguf(packages, tmp_path_factory.mktemp("rows"))


def made_by(oracle: Libgguf, base: Path, kind: str, out: Path, *, matters: bool) -> None:
    """Quantise every matrix of the base with libgguf; everything else is copied, but keys with arrays."""
    with base.open("rb") as file:
        header = read_gguf(file, base.stat().st_size, base.name)
    data = base.read_bytes()
    parts = {item.name: data[header.data_offset + item.offset :][: item.size] for item in header.tensors}
    arrays = {
        item.name: np.frombuffer(parts[item.name], dtype=np.float16).astype(np.float32).reshape(-1, COLUMNS)
        for item in header.tensors
        if item.dimensions[0] == COLUMNS and len(item.dimensions) == 2
    }
    if matters:
        # As write_matrix has it.
        arrays["importance"] = (np.arange(COLUMNS) * 37 % 101 + 1).astype(np.float32) / 16
    made = oracle.blocks(kind, arrays)
    tensors = [
        TensorData(
            name=item.name,
            dimensions=item.dimensions,
            type=kind if item.name in made else item.type.name,
            data=made.get(item.name, parts[item.name]),
        )
        for item in header.tensors
    ]
    with out.open("wb") as file:
        plain = {key: value for key, value in header.metadata.items() if isinstance(value, str | int | float)}
        write_gguf(file, plain, tensors)


@pytest.mark.parametrize(("kind", "matters"), [item for item in MADE if item[0] not in _NOT_OFFERED])
def test_what_libgguf_makes_is_proved(folder: ProjectFolder, libgguf: Libgguf, kind: str, matters: bool) -> None:
    assert kind in {item.name for item in GGML_TYPES.values()}
    base, given = folder.root / "base.gguf", []
    if matters:
        write_matrix(folder.root / "m.gguf", STORY)
        given = ["--imatrix", "m.gguf"]
    made_by(libgguf, base, kind, folder.root / "made.gguf", matters=matters)
    done = folder.run("prove", "made.gguf", "--base", "base.gguf", *given, "--json")
    found = done.json()
    assert (done.status, found["verdict"]) == (0, "identical tensors")
    assert _OLDER.get(kind, PLAIN) in found["arithmetics"]
