"""A GGUF with other keys: canonical, and nothing else changes."""

from __future__ import annotations

import io
import struct

import pytest
from gguf.constants import Keys
from hypothesis import given
from hypothesis import strategies as st

from lftool.formats.gguf_edit import TYPES, KeyEdit, edited_header, entry, plain_edits, type_of_entry
from lftool.formats.gguf_keys import (
    ARCHITECTURE_KEYS,
    RESERVED,
    is_own,
    is_reserved,
    is_standard,
    known_type,
)
from lftool.formats.gguf_read import read_gguf
from lftool.formats.gguf_write import TensorData, write_gguf

METADATA = {
    "general.architecture": "llama",
    "general.name": "before",
    "llama.context_length": 128,
    "tokenizer.ggml.tokens": ("a", "b", "c"),
    "tokenizer.ggml.scores": (1.0, 2.0, 3.0),
}
TENSORS = [
    TensorData(name="one", dimensions=(4, 2), type="F32", data=bytes(range(32))),
    TensorData(name="two", dimensions=(3,), type="F32", data=bytes(range(12))),
]


def model(metadata=None, alignment=None) -> bytes:
    file = io.BytesIO()
    more = {} if alignment is None else {"general.alignment": alignment}
    write_gguf(file, {**(METADATA if metadata is None else metadata), **more}, TENSORS)
    return file.getvalue()


def edited(data: bytes, *edits: KeyEdit, removed=()) -> bytes:
    header = read_gguf(io.BytesIO(data), len(data), "a model")
    return (
        edited_header(header, lambda start, size: data[start : start + size], edits, removed)
        + data[header.data_offset :]
    )


def keys(data: bytes) -> dict:
    return dict(read_gguf(io.BytesIO(data), len(data), "a model").metadata)


def test_a_key_that_is_set_again_keeps_its_place_and_new_ones_follow_sorted():
    made = edited(
        model(),
        KeyEdit(key="z.own", type="bool", value=True),
        KeyEdit(key="general.name", type="string", value="after"),
        KeyEdit(key="a.own", type="f32", value=0.5),
    )
    assert list(keys(made)) == [*METADATA, "a.own", "z.own"]
    assert (keys(made)["general.name"], keys(made)["a.own"], keys(made)["z.own"]) == ("after", 0.5, True)


def test_the_same_as_a_file_that_was_written_so():
    made = edited(model(), KeyEdit(key="general.name", type="string", value="after"), removed=("llama.context_length",))
    wanted = {key: value for key, value in METADATA.items() if key != "llama.context_length"}
    assert made == model({**wanted, "general.name": "after"})


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_the_tensors_stay_where_the_alignment_wants_them(alignment):
    data = model(alignment=alignment)
    made = edited(data, KeyEdit(key="x.own", type="string", value="x" * 100))
    before, after = (read_gguf(io.BytesIO(item), len(item), "a model") for item in (data, made))
    assert after.data_offset % alignment == 0
    assert after.tensors == before.tensors
    assert made[after.data_offset :] == data[before.data_offset :]


def test_nothing_set_is_the_same_file():
    assert edited(model()) == model()


@given(
    st.dictionaries(
        st.from_regex(r"own\.[a-z]{1,8}", fullmatch=True), st.one_of(st.booleans(), st.text(max_size=50)), max_size=8
    )
)
def test_what_is_set_and_removed_again_leaves_no_trace(values):
    edits = [KeyEdit(key=key, type="bool" if isinstance(v, bool) else "string", value=v) for key, v in values.items()]
    made = edited(model(), *edits)
    assert {key: keys(made)[key] for key in values} == values
    assert edited(made, removed=tuple(values)) == model()


VALUES = {
    "u8": 255,
    "i8": -128,
    "u16": 65535,
    "i16": -32768,
    "u32": 2**32 - 1,
    "i32": -(2**31),
    "u64": 2**64 - 1,
    "i64": -(2**63),
    "f32": 0.5,
    "f64": 0.1,
    "bool": False,
    "string": "ünï",
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_and_arrays_of_it(kind):
    value = VALUES[kind]
    made = edited(
        model(), KeyEdit(key="x.y", type=kind, value=value), KeyEdit(key="x.z", type=f"[{kind}]", value=(value, value))
    )
    header = read_gguf(io.BytesIO(made), len(made), "a model")
    start, end = header.extents["x.z"]
    assert header.metadata["x.y"] == value
    assert type_of_entry(made[start:end]) == f"[{kind}]"


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("u8", 256, "256 does not fit into u8"),
        ("u32", -1, "-1 does not fit into u32"),
        ("u32", True, "True is not of type u32"),
        ("bool", 1, "1 is not of type bool"),
        ("string", 1, "1 is not a string"),
        ("f32", 1e39, "does not fit into f32"),
        ("f32", "x", "'x' is not of type f32"),
        ("string", ("a",), "an array is not of type string"),
        ("[string]", "a", "'a' is not an array"),
        ("[u8]", (1, 300), "300 does not fit into u8"),
    ],
)
def test_a_value_of_another_type(kind, value, says):
    with pytest.raises(ValueError, match=says.replace("[", r"\[")):
        entry(KeyEdit(key="x.y", type=kind, value=value))


def test_a_key_that_has_another_type_in_the_weights():
    with pytest.raises(ValueError, match=r"^llama\.context_length: it is u32 in the weights, not string$"):
        edited(model(), KeyEdit(key="llama.context_length", type="string", value="x"))
    with pytest.raises(ValueError, match=r"^tokenizer\.ggml\.scores: it is \[f32\] in the weights, not f32$"):
        edited(model(), KeyEdit(key="tokenizer.ggml.scores", type="f32", value=1.0))


def test_a_key_to_remove_that_is_not_there():
    with pytest.raises(ValueError, match=r"^no\.such: the weights have no such key to remove$"):
        edited(model(), removed=("no.such",))


def test_edits_as_plain_data_hold_no_float_and_no_long_text():
    edits = [KeyEdit(key="b.x", type="f32", value=0.5), KeyEdit(key="a.t", type="string", value="long")]
    assert plain_edits(edits, ["z", "y"], {"a.t": "00ff"}) == {
        "set": [["a.t", "string", {"sha256": "00ff"}], ["b.x", "f32", struct.pack("<If", 6, 0.5).hex()]],
        "remove": ["y", "z"],
    }


def standard_keys() -> tuple[set[str], set[str]]:
    """Keys in gguf-py: those of architectures without its name, and the rest."""
    named = [
        value
        for group in vars(Keys).values()
        if isinstance(group, type)
        for value in vars(group).values()
        if isinstance(value, str) and "." in value and not value.startswith("gguf")
    ]
    own = {key.removeprefix("{arch}.") for key in named if key.startswith("{arch}.")}
    dense = {key.replace("{dense}", name) for key in own for name in ("dense_2", "dense_3")}
    return {key for key in dense if "{" not in key}, {key for key in named if not key.startswith("{arch}.")}


def test_the_names_are_those_of_gguf_py():
    architecture, others = standard_keys()
    assert architecture == ARCHITECTURE_KEYS
    unknown = {
        key
        for key in others
        if known_type(key.format(id=0, name="tool_use")) is None
        and not is_reserved(key)
        and key.partition(".")[0] not in {"diffusion", "xielu"}
    }
    assert unknown == set()
    assert {key for key in RESERVED if key.startswith("tokenizer.ggml")} <= others


@pytest.mark.parametrize(
    ("key", "standard", "own"),
    [
        ("general.author", True, False),
        ("general.base_model.12.repo_url", True, False),
        ("general.mine", False, False),
        ("llama.rope.freq_base", True, False),
        ("llama.mine", False, False),
        ("qwen2.rope.freq_base", False, True),
        ("example.mine", False, True),
        ("split.count", False, False),
        ("example", False, False),
        ("tokenizer.chat_template.tool_use", True, False),
    ],
)
def test_which_keys_are_whose(key, standard, own):
    assert (is_standard(key, "llama"), is_own(key, "llama")) == (standard, own)
