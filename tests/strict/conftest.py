"""Kernels called directly, and ggml's own function beside them."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path

import numpy as np
import pytest
from attrs import field, frozen

from lftool.api.gguf import GGML_TYPES
from lftool_strict.compiled import SIGMA, assembly
from lftool_strict.kernels.block import NOT_FINITE, OUT_OF_RANGE, OVERFLOW, program_name
from lftool_strict.kernels.neighbours import tables
from lftool_strict.kernels.registry import KERNELS
from lftool_strict.lanes.machine import Loaded, Machine, object_code, this_machine

COLUMNS = 512
# Every type, without and with an importance matrix, where it can be made so.
MADE = [(name, matters) for name, kernel in KERNELS.items() for matters in (False, True) if matters or kernel.plain]


def bell(name: str, rows: int, columns: int = COLUMNS) -> np.ndarray:
    """Bell-shaped weights that are the same everywhere: sums of SHAKE-256 output, exact in binary32."""
    raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(4 * rows * columns), dtype=np.uint8)
    parts = raw.reshape(4, rows, columns).astype(np.int64)
    return ((parts.sum(axis=0) - 510) * 2.0**-12).astype(np.float32)


def _outliers(rows: int) -> np.ndarray:
    found = bell("outliers", rows)
    found[:, ::32] *= np.float32(100)
    return found


def _sparse(rows: int) -> np.ndarray:
    found = bell("sparse", rows)
    return np.where(np.abs(found) > np.float32(0.1), found, np.float32(0))


def _scales(rows: int) -> np.ndarray:
    """Every group of 16 on a scale of its own."""
    powers = np.exp2(np.arange(rows * COLUMNS // 16, dtype=np.float32) % 40 - 20).repeat(16).reshape(rows, COLUMNS)
    return (bell("scales", rows) * powers).astype(np.float32)


def _mostly_zero(rows: int) -> np.ndarray:
    found = np.zeros((rows, COLUMNS), dtype=np.float32)
    found[:, 5::256] = bell("mostly zero", rows)[:, 5::256] + np.float32(0.5)
    return found


def _alternating(rows: int) -> np.ndarray:
    return np.where(np.arange(COLUMNS) % 2, 1, -1).astype(np.float32) * np.abs(bell("alternating", rows))


FAMILIES = {
    "bell": lambda rows: bell("bell", rows),
    "heavy tails": lambda rows: (bell("tails", rows) ** 3 * np.float32(64)).astype(np.float32),
    "rounded to F16": lambda rows: bell("half", rows).astype(np.float16).astype(np.float32),
    "constant": lambda rows: np.full((rows, COLUMNS), 0.25, dtype=np.float32),
    "constant in every block": lambda rows: bell("equal", rows)[:, ::32].repeat(32, axis=1),
    "zeros": lambda rows: np.zeros((rows, COLUMNS), dtype=np.float32),
    "negative zeros": lambda rows: np.full((rows, COLUMNS), -0.0, dtype=np.float32),
    "subnormal": lambda rows: bell("subnormal", rows) * np.float32(2.0**-130),
    "tiny": lambda rows: bell("tiny", rows) * np.float32(2.0**-60),
    "large": lambda rows: bell("large", rows) * np.float32(2.0**14),
    "positive": lambda rows: np.abs(bell("positive", rows)) + np.float32(2.0**-12),
    "negative": lambda rows: -np.abs(bell("negative", rows)) - np.float32(2.0**-12),
    "signs": lambda rows: np.sign(bell("signs", rows)) * np.float32(0.1),
    "alternating signs": _alternating,
    "one outlier": _outliers,
    "sparse": _sparse,
    "scale of every group": _scales,
    "one weight": _mostly_zero,
    "ramp": lambda rows: np.linspace(-1, 1, rows * COLUMNS, dtype=np.float32).reshape(rows, COLUMNS),
}


def importance(columns: int = COLUMNS) -> np.ndarray:
    """Positive importance per column, over several powers of two."""
    return np.abs(bell("importance", 1, columns)[0]) ** 2 + np.float32(2.0**-10)


@frozen
class Calls:
    """Kernels for a processor, loaded into this process."""

    machine: Machine = field(factory=this_machine)
    loaded: dict[str, Loaded] = field(factory=dict)
    fused: frozenset[str] = frozenset()

    def get(self, name: str, kind: str, *, important: bool = False, exact: bool = False) -> Loaded:
        full = program_name(name, kind, important=important, exact=exact)
        if full not in self.loaded:
            text = assembly(name, kind, self.machine, important=important, exact=exact, fused=self.fused)
            self.loaded[full] = Loaded(object_code(text, self.machine), full)
        return self.loaded[full]

    def blocks(
        self,
        name: str,
        weights: np.ndarray,
        matters: np.ndarray | None = None,
        *,
        kind: str = "F32",
        exact: bool = False,
    ) -> tuple[bytes, int]:
        """Return the blocks of weights, one array row a row, and what was reported."""
        kernel = KERNELS[name]
        rows, columns = weights.shape
        important = matters is not None and kernel.importance
        out = np.zeros(rows * columns // kernel.elements * kernel.size, dtype=np.uint8)
        sigma, flags = np.zeros(rows, dtype=np.float32), ctypes.c_int32(0)
        place = ctypes.addressof(flags)
        if important and kernel.row_sigma:
            self.get(SIGMA, kind).call(weights.ctypes.data, None, None, sigma.ctypes.data, 0, rows, columns, place)
        self.get(name, kind, important=important, exact=exact).call(
            weights.ctypes.data,
            matters.ctypes.data if important else None,
            sigma.ctypes.data if kernel.grid is None else tables(kernel.grid).address,
            out.ctypes.data,
            0,
            weights.size // kernel.elements,
            columns // kernel.elements,
            place,
        )
        return out.tobytes(), flags.value

    def quantised(self, name: str, weights: np.ndarray, matters: np.ndarray | None = None) -> bytes | None:
        """Return the blocks, made exactly where that is reported to be needed; None for what is refused."""
        found, flags = self.blocks(name, weights, matters)
        if flags & OUT_OF_RANGE:
            found, flags = self.blocks(name, weights, matters, exact=True)
        return None if flags & (NOT_FINITE | OVERFLOW) else found


@pytest.fixture(scope="session")
def calls() -> Calls:
    return Calls()


@pytest.fixture(scope="session")
def library():
    """Base library of the installed llama-cpp-python."""
    import llama_cpp

    return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))


@pytest.fixture(scope="session")
def is_valid(library):
    """Whether llama.cpp takes blocks, or refuses them for a scale that is not finite."""
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    return lambda name, blocks: library.ggml_validate_row_data(GGML_TYPES[name].number, blocks, len(blocks))


@pytest.fixture(scope="session")
def ggml(library):
    """`ggml_quantize_chunk`: ggml(type, weights, importance) -> blocks."""
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def blocks(name: str, weights: np.ndarray, matters: np.ndarray | None = None) -> bytes:
        kind = GGML_TYPES[name]
        rows, columns = weights.shape
        out = np.zeros(weights.size // kind.block_elements * kind.block_bytes, dtype=np.uint8)
        given = matters.ctypes.data if matters is not None else None
        done = quantize(kind.number, weights.ctypes.data, out.ctypes.data, 0, rows, columns, given)
        assert done == out.size
        return out.tobytes()

    return blocks


from tests.plugins.conftest import quantize_directly  # noqa: E402, F401 - a fixture
