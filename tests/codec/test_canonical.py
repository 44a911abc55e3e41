from __future__ import annotations

import functools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool.codec.canonical import canonical_json, parse_canonical_json
from lftool.errors import FormatError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_keys_are_sorted_by_code_point_and_nothing_is_escaped_that_need_not_be():
    value = {"b": [1, True, None, "é\u2028/"], "\U0001f600": {}, "\uffff": [], "a": -1, "B": "\n\x7f"}
    assert canonical_json(value) == (
        '{"B":"\\n\x7f","a":-1,"b":[1,true,null,"é\u2028/"],"\uffff":[],"\U0001f600":{}}'.encode()
    )


@given(VALUES)
def test_what_is_encoded_is_parsed_back(value):
    data = canonical_json(value)
    assert parse_canonical_json(data, "x") == value
    assert json.loads(data) == value


UNENCODABLE = {
    "float": (1.0, "float has no canonical form"),
    "nan": (float("nan"), "float has no canonical form"),
    "big integer": ([2**53], "integer 9007199254740992 is not below 2**53"),
    "small integer": ([-(2**53)], "integer -9007199254740992 is not below 2**53"),
    "bytes": ({"a": b""}, "bytes has no canonical form"),
    "set": ({1}, "set has no canonical form"),
    "integer key": ({1: 2}, "key 1 is not a string"),
    "deep nesting": (nested(34), "nested too deeply"),
    "deep nesting of objects": (functools.reduce(lambda inner, _: {"a": inner}, range(33), {}), "nested too deeply"),
}


@pytest.mark.parametrize(("value", "message"), UNENCODABLE.values(), ids=UNENCODABLE.keys())
def test_a_value_without_canonical_form_is_refused(value, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        canonical_json(value)
    assert str(caught.value) == message


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        canonical_json("\ud800")


def test_nesting_up_to_the_budget_is_accepted():
    for data in (b"[" * 33 + b"]" * 33, b'{"a":' * 32 + b"{}" + b"}" * 32):
        assert canonical_json(parse_canonical_json(data, "x")) == data


UNPARSABLE = {
    "empty": (b"", "Expecting value: line 1 column 1 (char 0)"),
    "two values": (b"{}{}", "Extra data: line 1 column 3 (char 2)"),
    "duplicate key": (b'{"a":1,"a":1}', "duplicate key"),
    "duplicate key by escape": (b'{"a":1,"\\u0061":1}', "duplicate key"),
    "duplicate key deep inside": (b'[{"b":{"a":1,"a":2}}]', "duplicate key"),
    "float": (b"[1.0]", "number 1.0 is not an integer"),
    "exponent": (b"[1e3]", "number 1e3 is not an integer"),
    "NaN": (b"[NaN]", "number NaN is not an integer"),
    "Infinity": (b"[-Infinity]", "number -Infinity is not an integer"),
    "big integer": (b"[9007199254740992]", "integer 9007199254740992 is not below 2**53"),
    "not UTF-8": (b'"\xff"', "'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"),
    "lone surrogate": (
        b'"\\ud800"',
        "'utf-8' codec can't encode character '\\ud800' in position 1: surrogates not allowed",
    ),
    "control character": (b'"\n"', "Invalid control character at: line 1 column 2 (char 1)"),
    "comment": (b"// x\n1", "Expecting value: line 1 column 1 (char 0)"),
    "deep nesting": (b"[" * 34 + b"]" * 34, "nested too deeply"),
}


@pytest.mark.parametrize(("data", "message"), UNPARSABLE.values(), ids=UNPARSABLE.keys())
def test_what_is_not_canonical_json_is_refused(data: bytes, message: str):
    with pytest.raises(FormatError) as caught:
        parse_canonical_json(data, "bundle.json")
    assert caught.value.message == f"bundle.json: not canonical JSON: {message}"


OTHER_SPELLINGS = {
    "space": b'{"a": 1}',
    "newline at the end": b"{}\n",
    "space at the start": b" {}",
    "keys not sorted": b'{"b":1,"a":2}',
    "needless escape": b'"\\u0061"',
    "escaped slash": b'"\\/"',
    "non-ASCII escaped": b'"\\u00e9"',
    "pair of surrogates escaped": b'"\\ud83d\\ude00"',
    "minus zero": b"-0",
    "upper-case escape": b'"\\u001F"',
}


@pytest.mark.parametrize("data", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS.keys())
def test_another_spelling_of_a_value_is_refused(data: bytes):
    with pytest.raises(FormatError) as caught:
        parse_canonical_json(data, "bundle.json")
    assert caught.value.message == "bundle.json: JSON is not in its canonical encoding"


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbf{}", b"[" * 100_000, b"1" * 5000, '"\ud83d\ude00"'.encode("utf-16", "surrogatepass")],
    ids=["byte order mark", "absurd nesting", "absurd integer", "UTF-16"],
)
def test_hostile_input_is_a_format_error(data: bytes):
    with pytest.raises(FormatError, match=r"^bundle\.json: not canonical JSON: "):
        parse_canonical_json(data, "bundle.json")


@given(st.binary(max_size=40) | st.text('[]{},:"\\ue+-.0123456789ntrf ', max_size=40).map(str.encode))
def test_any_bytes_are_canonical_or_refused(data: bytes):
    try:
        value = parse_canonical_json(data, "x")
    except FormatError:
        return
    assert canonical_json(value) == data
