"""Importance matrices: both formats mean the same, and bad files are refused before llama.cpp sees them."""

from __future__ import annotations

import math
import struct
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool.api.gguf import TensorData, read_imatrix, write_gguf
from lftool.errors import FormatError
from lftool.testing import tiny_gguf

NEITHER = "the importance matrix is neither a GGUF nor a legacy file: "


def legacy(*entries: tuple[bytes, int, list[float]], count: int | None = None) -> bytes:
    parts = [struct.pack("<i", len(entries) if count is None else count)]
    for name, calls, values in entries:
        parts += [struct.pack("<i", len(name)), name, struct.pack("<ii", calls, len(values))]
        parts.append(struct.pack(f"<{len(values)}f", *values))
    return b"".join(parts)


@pytest.fixture
def read(tmp_path):
    def run(data: bytes) -> dict[str, list[float]]:
        path = tmp_path / "imatrix"
        path.write_bytes(data)
        return {name: values.tolist() for name, values in read_imatrix(path).items()}

    return run


@pytest.fixture
def gguf(tmp_path, read):
    def run(tensors: dict[str, tuple[tuple[int, ...], list[float]]], kind: str = "F32", **metadata):
        data = [
            TensorData(
                name=name,
                dimensions=dimensions,
                type=kind,
                data=struct.pack(f"<{len(values)}{'f' if kind == 'F32' else 'e'}", *values),
            )
            for name, (dimensions, values) in tensors.items()
        ]
        with (tmp_path / "written").open("wb") as file:
            write_gguf(file, {"general.type": "imatrix", **metadata}, data)
        return read((tmp_path / "written").read_bytes())

    return run


def test_legacy_values_are_divided_by_the_number_of_calls(read):
    assert read(legacy((b"a.weight", 4, [2.0, 8.0]), (b"b.weight", 0, [3.0]))) == {
        "a.weight": [0.5, 2.0],
        "b.weight": [3.0],
    }


def test_gguf_sums_are_divided_by_their_counts(gguf):
    assert gguf({"a.weight.in_sum2": ((2, 1), [2.0, 8.0]), "a.weight.counts": ((1, 1), [4.0])}) == {
        "a.weight": [0.5, 2.0]
    }


def test_gguf_of_experts_has_a_count_for_each_and_ones_where_none_was_seen(gguf):
    sums = ((2, 3), [2.0, 8.0, 5.0, 5.0, 3.0, 6.0])
    counts = ((1, 3), [4.0, 0.0, 3.0])
    assert gguf({"e.weight.in_sum2": sums, "e.weight.counts": counts}) == {"e.weight": [0.5, 2.0, 1.0, 1.0, 1.0, 2.0]}


@given(st.lists(st.floats(min_value=0, width=32, allow_nan=False, allow_infinity=False)), st.integers(1, 2**31 - 1))
def test_numpy_divides_as_python_does(values, by):
    from lftool.formats import imatrix

    given = array("f", values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numpy", None)
        plain = imatrix._divided(given, float(by))
    assert imatrix._divided(given, float(by)) == plain


def test_a_value_below_zero_is_refused_by_the_name_of_its_tensor(read):
    with pytest.raises(FormatError, match=r"a value for b\.weight below zero: -1"):
        read(legacy((b"a.weight", 1, [1.0]), (b"b.weight", 1, [2.0, -1.0])))


finite = st.floats(min_value=0, max_value=2**60, width=32)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=8), st.integers(1, 10_000))
def test_both_formats_mean_the_same(imatrix_tools, tmp_path_factory, pairs, count):
    import numpy as np

    _, write_gguf_imatrix, write_legacy_imatrix = imatrix_tools
    folder = tmp_path_factory.mktemp("imatrix")
    entries = {f"blk.{index}.weight": (list(pair), count) for index, pair in enumerate(pairs)}
    ours = read_imatrix(write_gguf_imatrix(folder / "new", entries))
    theirs = read_imatrix(write_legacy_imatrix(folder / "old", entries))
    assert {k: v.tobytes() for k, v in ours.items()} == {k: v.tobytes() for k, v in theirs.items()}
    for name, (sums, _) in entries.items():
        assert ours[name].tolist() == [np.float32(value) / np.float32(count) for value in sums]


def test_both_formats_quantise_to_the_same_bytes(plugin, imatrix_tools, tmp_path):
    importance_of, write_gguf_imatrix, write_legacy_imatrix = imatrix_tools
    source = tiny_gguf(tmp_path / "model.gguf")
    for name, write in (("new", write_gguf_imatrix), ("old", write_legacy_imatrix)):
        imatrix = write(tmp_path / f"{name}.imatrix", importance_of())
        plugin.run("Q4_K_M", tmp_path / name, weights=source, imatrix=imatrix)
    assert (tmp_path / "new").read_bytes() == (tmp_path / "old").read_bytes()


BAD = {
    "empty": (b"", "it is truncated"),
    "no entries": (legacy(), "the number of entries is 0"),
    "negative number of entries": (legacy(count=-1), "the number of entries is -1"),
    "absurd number of entries": (legacy(count=2**30), f"the number of entries is {2**30}"),
    "empty name": (legacy((b"", 1, [1.0])), "the length of a name is 0"),
    "absurd name": (legacy((b"n" * 513, 1, [1.0])), "the length of a name is 513"),
    "no values": (legacy((b"a", 1, [])), "the number of values is 0"),
    "absurd number of values": (
        legacy((b"a", 1, []))[:-4] + struct.pack("<i", 2**31 - 1),
        f"the number of values is {2**31 - 1}",
    ),
    "cut in the values": (legacy((b"a", 1, [1.0, 2.0]))[:-1], "it is truncated"),
    "cut in a later entry": (legacy((b"a", 1, [1.0]), count=2), "it is truncated"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD.keys())
def test_bad_legacy_file_is_refused(read, data, why):
    with pytest.raises(FormatError) as caught:
        read(data)
    assert str(caught.value) == NEITHER + why


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_is_refused(read, value):
    with pytest.raises(FormatError) as caught:
        read(legacy((b"a.weight", 1, [1.0, value])))
    assert str(caught.value) == "the importance matrix has a value for a.weight that is not finite"


def test_gguf_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FormatError) as caught:
        read_imatrix(tiny_gguf(tmp_path / "model.gguf", width=32))
    assert str(caught.value) == "the importance matrix is a GGUF whose general.type is not 'imatrix'"


def test_gguf_without_counts_is_refused(gguf):
    with pytest.raises(FormatError) as caught:
        gguf({"a.weight.in_sum2": ((2, 1), [1.0, 1.0])})
    assert str(caught.value) == "the importance matrix: a.weight.in_sum2 has no matching counts"


def test_gguf_with_counts_of_another_shape_is_refused(gguf):
    with pytest.raises(FormatError) as caught:
        gguf({"a.weight.in_sum2": ((2, 1), [1.0, 1.0]), "a.weight.counts": ((1, 2), [1.0, 1.0])})
    assert str(caught.value) == "the importance matrix: a.weight.in_sum2 has no matching counts"


def test_gguf_of_another_tensor_type_is_refused(gguf):
    with pytest.raises(FormatError) as caught:
        gguf({"a.weight.in_sum2": ((2, 1), [1.0, 1.0])}, kind="F16")
    assert str(caught.value) == "the importance matrix: a.weight.in_sum2 is F16, not F32"


def test_gguf_without_entries_is_refused(gguf):
    with pytest.raises(FormatError) as caught:
        gguf({"other": ((1,), [1.0])})
    assert str(caught.value) == "the importance matrix has no entries"


@given(st.binary(max_size=200))
def test_no_bytes_give_anything_but_a_matrix_or_a_format_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data)
    try:
        found = read_imatrix(path)
    except FormatError:
        return
    assert all(math.isfinite(value) for values in found.values() for value in values)


@given(st.integers(0, 80), st.binary(min_size=1, max_size=8))
def test_damaged_legacy_file_gives_a_matrix_or_a_format_error(tmp_path_factory, place, noise):
    data = bytearray(legacy((b"a.weight", 4, [2.0, 8.0]), (b"b.weight", 1, [3.0])))
    data[place : place + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(data))
    try:
        found = read_imatrix(path)
    except FormatError:
        return
    assert all(math.isfinite(value) for values in found.values() for value in values)
