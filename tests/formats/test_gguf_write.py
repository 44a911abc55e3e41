from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool.formats.ggml_types import GGML_TYPES
from lftool.formats.gguf_read import MAX_NAME_BYTES, GGUFArray, read_gguf
from lftool.formats.gguf_write import TensorData, gguf_header, write_gguf
from lftool.testing import tiny_gguf

_LAYOUTS = {5: "<i", 6: "<f"}


def written(metadata, tensors) -> bytes:
    file = io.BytesIO()
    write_gguf(file, metadata, tensors)
    return file.getvalue()


def decode(data: bytes, value):
    """The value that a key has, arrays decoded."""
    if not isinstance(value, GGUFArray):
        return value
    items, position = [], value.start
    for _ in range(value.count):
        if value.element_type == 8:
            (length,) = struct.unpack_from("<Q", data, position)
            items.append(data[position + 8 : position + 8 + length].decode())
            position += 8 + length
        else:
            (item,) = struct.unpack_from(_LAYOUTS[value.element_type], data, position)
            items.append(item)
            position += 4
    assert position == value.end
    return tuple(items)


REALS = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    REALS,
    st.text(max_size=20),
    st.lists(st.text(max_size=8), max_size=4).map(tuple),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4).map(tuple),
    st.lists(REALS, max_size=4).map(tuple),
)
METADATA = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda key: key != "general.alignment"), VALUES, max_size=6
)


@st.composite
def tensor_data(draw, name):
    kind = GGML_TYPES[draw(st.sampled_from(["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "MXFP4"]))]
    row = kind.block_elements * draw(st.integers(1, 3))
    rest = draw(st.lists(st.integers(1, 3), max_size=3))
    size = row // kind.block_elements * kind.block_bytes
    for dimension in rest:
        size *= dimension
    fill = draw(st.integers(0, 255))
    return TensorData(name=name, dimensions=(row, *rest), type=kind.name, data=bytes([fill]) * size)


NAMES = st.text(min_size=1, max_size=30).filter(lambda name: len(name.encode()) <= MAX_NAME_BYTES)
TENSORS = st.lists(NAMES, unique=True, min_size=1, max_size=4).flatmap(
    lambda names: st.tuples(*map(tensor_data, names))
)


@given(METADATA, TENSORS)
def test_what_is_written_is_read_back(metadata, tensors):
    data = written(metadata, tensors)
    made = read_gguf(io.BytesIO(data), len(data), "written")
    assert {key: decode(data, value) for key, value in made.metadata.items()} == metadata
    assert list(made.metadata) == list(metadata)
    back = [
        TensorData(
            name=item.name,
            dimensions=item.dimensions,
            type=item.type.name,
            data=data[made.data_offset + item.offset :][: item.size],
        )
        for item in made.tensors
    ]
    assert back == list(tensors)


@given(METADATA)
def test_metadata_without_tensors_is_read_back(metadata):
    data = written(metadata, [])
    made = read_gguf(io.BytesIO(data), len(data), "written")
    assert {key: decode(data, value) for key, value in made.metadata.items()} == metadata


def test_the_alignment_that_the_metadata_names_is_the_one_written():
    ones = TensorData(name="a", dimensions=(1,), type="F32", data=bytes(4))
    twos = TensorData(name="b", dimensions=(1,), type="F32", data=bytes(4))
    data = written({"general.alignment": 64}, [ones, twos])
    made = read_gguf(io.BytesIO(data), len(data), "written")
    assert (made.alignment, [item.offset for item in made.tensors]) == (64, [0, 64])


def test_writing_twice_gives_the_same_bytes():
    tensor = TensorData(name="a", dimensions=(2,), type="F16", data=b"\x01\x02\x03\x04")
    assert written({"b": 1, "a": "x"}, [tensor]) == written({"b": 1, "a": "x"}, [tensor])


def test_a_whole_file_is_these_bytes():
    tensor = TensorData(name="w", dimensions=(1,), type="F32", data=b"\x00\x00\x80\x3f")
    data = written({"k": 7}, [tensor])
    assert data == (
        b"GGUF\x03\x00\x00\x00"
        b"\x01\x00\x00\x00\x00\x00\x00\x00"
        b"\x01\x00\x00\x00\x00\x00\x00\x00"
        b"\x01\x00\x00\x00\x00\x00\x00\x00k\x04\x00\x00\x00\x07\x00\x00\x00"
        b"\x01\x00\x00\x00\x00\x00\x00\x00w\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + bytes(22) + b"\x00\x00\x80\x3f" + bytes(28)
    )


def test_the_header_needs_no_tensor_data():
    full = TensorData(name="a", dimensions=(4,), type="F32", data=bytes(16))
    bare = TensorData(name="a", dimensions=(4,), type="F32", data=b"")
    assert gguf_header({}, [bare], [16]) == gguf_header({}, [full], [16])


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, (2**31,), ("a", 1), (1, 0.5), 1e300],
    ids=["integer too large", "integer too small", "element too large", "mixed", "two kinds of number", "real"],
)
def test_a_value_without_a_gguf_type_is_a_value_error(value):
    with pytest.raises(ValueError):  # noqa: PT011 - the kind of error is the contract
        gguf_header({"k": value}, [], [])


@pytest.mark.parametrize("kind", ["F16", "F32"])
def test_the_model_for_tests_is_sound(tmp_path, kind):
    path = tiny_gguf(tmp_path / "tiny.gguf", layers=2, width=32, kind=kind)
    with path.open("rb") as file:
        made = read_gguf(file, path.stat().st_size, "tiny.gguf")
    assert (len(made.tensors), made.elements, made.metadata["llama.block_count"]) == (21, 16 * 32 * 32 + 5 * 32, 2)


@pytest.mark.parametrize("name", ["x" * 64, "\u00e9" * 32])
def test_a_name_that_no_reader_takes_is_not_written(name):
    tensor = TensorData(name=name, dimensions=(1,), type="F32", data=bytes(4))
    with pytest.raises(ValueError, match="has more than 63 bytes: nothing would load it"):
        write_gguf(io.BytesIO(), {}, [tensor])
