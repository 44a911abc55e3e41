"""The header of a safetensors file, within budgets."""

from __future__ import annotations

import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool.api.gguf import SafetensorsTensor, read_safetensors
from lftool.errors import FormatError


def file_of(header: object, data: bytes = b"", *, text: bytes | None = None) -> bytes:
    encoded = json.dumps(header).encode() if text is None else text
    return struct.pack("<Q", len(encoded)) + encoded + data


def entry(kind: str = "F16", shape: tuple[int, ...] = (2,), start: int = 0, end: int = 4, **more: object) -> dict:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [start, end], **more}


def read(data: bytes) -> tuple[SafetensorsTensor, ...]:
    return read_safetensors(io.BytesIO(data), len(data), "x.safetensors")


def test_tensors_come_in_the_order_of_their_data():
    header = {"b": entry(start=4, end=8), "__metadata__": {"format": "pt"}, "a": entry("BF16", (1, 2))}
    assert read(file_of(header, bytes(8))) == (
        SafetensorsTensor(name="a", type="BF16", shape=(1, 2), offset=0, size=4),
        SafetensorsTensor(name="b", type="F16", shape=(2,), offset=4, size=4),
    )


BAD = {
    "too short": (b"1234567", "it is shorter than 8 bytes"),
    "header longer than the file": (
        struct.pack("<Q", 99) + b"{}",
        "its header has 99 bytes, the file 10, at most 33554432 are allowed",
    ),
    "enormous header": (
        struct.pack("<Q", 2**63) + b"{}",
        f"its header has {2**63} bytes, the file 10, at most 33554432 are allowed",
    ),
    "a list": (file_of([]), "its header must be an object of at most 1000000 tensors"),
    "a key twice": (file_of(None, text=b'{"a": 1, "a": 2}'), "its header is not valid JSON: a key twice"),
    "a tensor without type": (
        file_of({"a": {"shape": [], "data_offsets": [0, 0]}}),
        "tensor 'a' needs dtype, shape and data_offsets, and nothing else",
    ),
    "unknown type": (file_of({"a": entry("F17")}, bytes(4)), "tensor 'a' has the unknown type 'F17'"),
    "negative dimension": (
        file_of({"a": entry(shape=(-2,))}, bytes(4)),
        "tensor 'a': shape and data_offsets must be lists of whole numbers",
    ),
    "true as a dimension": (
        file_of({"a": {"dtype": "I8", "shape": [True], "data_offsets": [0, 1]}}, bytes(1)),
        "tensor 'a': shape and data_offsets must be lists of whole numbers",
    ),
    "other size than its shape": (
        file_of({"a": entry(shape=(3,))}, bytes(4)),
        "tensor 'a': F16 of shape [3] takes 6 bytes, its data_offsets say 4",
    ),
    "too many dimensions": (
        file_of({"a": entry(shape=(1,) * 9)}, bytes(4)),
        "tensor 'a' has 9 dimensions, at most 8 are allowed",
    ),
    "a hole": (
        file_of({"a": entry(), "b": entry(start=8, end=12)}, bytes(12)),
        "tensor 'b' begins at 8, expected 4: a hole, or an overlap",
    ),
    "an overlap": (
        file_of({"a": entry(), "b": entry(start=2, end=6)}, bytes(6)),
        "tensor 'b' begins at 2, expected 4: a hole, or an overlap",
    ),
    "bytes behind": (file_of({"a": entry()}, bytes(5)), "header and tensors take"),
    "bytes missing": (file_of({"a": entry()}, bytes(3)), "header and tensors take"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD.keys())
def test_unsound_file_is_refused(data, why):
    with pytest.raises(FormatError) as caught:
        read(data)
    assert str(caught.value).startswith(f"x.safetensors is not a sound safetensors file: {why}")


def test_deeply_nested_header_is_refused():
    with pytest.raises(FormatError, match="its header is not valid JSON"):
        read(file_of(None, text=b"[" * 100_000))


@given(st.binary(max_size=300))
def test_no_bytes_give_anything_but_tensors_or_a_format_error(data):
    try:
        found = read(data)
    except FormatError:
        return
    assert sum(tensor.size for tensor in found) <= len(data)


SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(
    st.dictionaries(st.text(max_size=8), st.tuples(SHAPES, st.sampled_from(["float16", "float32", "int8"])), max_size=5)
)
def test_what_the_safetensors_library_writes_is_read(tensors):
    import numpy as np
    from safetensors.numpy import save

    tensors.pop("__metadata__", None)
    data = save({name: np.zeros(shape, dtype=kind) for name, (shape, kind) in tensors.items()})
    found = {tensor.name: (tensor.shape, tensor.size) for tensor in read(data)}
    assert found == {
        name: (shape, int(np.prod(shape)) * np.dtype(kind).itemsize) for name, (shape, kind) in tensors.items()
    }
