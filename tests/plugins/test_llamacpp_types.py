"""Our tables of types against the answers of the installed library."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from lftool.api.gguf import FILE_TYPES, GGML_TYPES


@pytest.fixture(scope="module")
def ggml():
    import llama_cpp

    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    return library


def _name(ggml, number: int) -> str:
    return ggml.ggml_type_name(number).decode().upper()


@pytest.mark.parametrize("kind", GGML_TYPES.values(), ids=GGML_TYPES.keys())
def test_type_is_the_librarys(ggml, kind):
    theirs = _name(ggml, kind.number), ggml.ggml_blck_size(kind.number), ggml.ggml_type_size(kind.number)
    assert (kind.name, kind.block_elements, kind.block_bytes) == theirs


def test_table_has_every_type_of_the_library(ggml):
    """Numbers missing in between are types that ggml removed: their block size is 0."""
    numbers = {kind.number for kind in GGML_TYPES.values()}
    missing = set(range(max(numbers))) - numbers
    assert {number: ggml.ggml_blck_size(number) for number in missing} == dict.fromkeys(missing, 0)


def _constants() -> dict[str, int]:
    import llama_cpp

    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    return {
        name.removeprefix(prefix): getattr(llama_cpp, name)
        for name in dir(llama_cpp)
        for prefix in prefixes
        if name.startswith(prefix)
    }


def test_file_types_are_the_librarys_constants():
    """NVFP4 has a number and no default tensor type, so it is not offered."""
    theirs = _constants()
    assert theirs.pop("NVFP4") == 39
    assert theirs == FILE_TYPES
