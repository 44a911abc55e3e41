from __future__ import annotations

import datetime as dt
import os
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lftool.codec.toml_in import parse_toml, read_bytes
from lftool.codec.toml_out import emit_toml
from lftool.errors import LockError

KEYS = st.text(max_size=8) | st.sampled_from(["a", "b-c", "d_e", "1", "", "a.b", 'q"', "\n", "#", "ключ"])
SCALARS = st.text(max_size=20) | st.integers() | st.booleans()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


@given(TABLES)
@example({"a": {}})
@example({"a": {"b": {}}})
@example({"a": {"b": [{}]}})
@example({"a": [{"b": {"c": {"d": 1}}}, {"b": [{"c": [{}]}]}]})
@example({"a": {"x": 1, "b": {"c": 2}}, "a.b": 3})
@example({"a": [[], [{}], {"b": 1}]})
@example({"a": "".join(map(chr, range(0x20))) + '\x7f\x80"\\'})
def test_what_is_emitted_is_toml_of_the_same_value(table):
    assert tomllib.loads(emit_toml(table).decode()) == table


@given(TABLES)
def test_emission_does_not_depend_on_the_order_of_insertion(table):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(list(value))}
        return [turned(item) for item in value] if isinstance(value, list) else value

    assert emit_toml(turned(table)) == emit_toml(table)


@given(TABLES)
def test_what_is_emitted_has_unix_lines_and_one_newline_at_its_end(table):
    data = emit_toml(table)
    assert b"\r" not in data
    assert data.endswith(b"\n")
    assert not data.endswith(b"\n\n") or data == b"\n"


@given(TABLES, st.text("ab c", min_size=1, max_size=10).filter(str.strip))
def test_a_comment_changes_no_value(table, comment):
    assert tomllib.loads(emit_toml(table, comment=comment).decode()) == table


def test_a_table_is_these_bytes():
    table = {
        "z": 1,
        "a": {"s": 'quote " back \\ tab \t bell \x07 é', "flag": True, "list": [1, "x", [False]], "inline": [{}, 1]},
        "b": {"c": {"d": -1}, "e f": {"g": 0}},
        "rows": [{"n": 1, "deep": {"k": "v"}}, {"n": 2}],
        "empty": {},
        "none": [],
    }
    assert emit_toml(table, comment="first\nsecond").decode() == (
        "# first\n# second\n\n"
        "empty = {}\nnone = []\nz = 1\n\n"
        '[a]\nflag = true\ninline = [{}, 1]\nlist = [1, "x", [false]]\n'
        's = "quote \\" back \\\\ tab \\t bell \\u0007 é"\n\n'
        '[b.c]\nd = -1\n\n[b."e f"]\ng = 0\n\n'
        '[[rows]]\nn = 1\n\n[rows.deep]\nk = "v"\n\n[[rows]]\nn = 2\n'
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.5, "float"),
        (None, "NoneType"),
        (dt.date(2024, 1, 1), "date"),
        (b"", "bytes"),
        ([1.0], "float"),
        ({"a": None}, "NoneType"),
    ],
    ids=["float", "none", "date", "bytes", "float in a list", "none in a table"],
)
def test_a_value_without_canonical_form_is_refused(value, kind):
    with pytest.raises(TypeError, match=f"^{kind} has no canonical TOML form$"):
        emit_toml({"k": value})


UNREADABLE = {
    "no file": (lambda path: None, "cannot read {}: No such file or directory"),
    "a folder": (lambda path: path.mkdir(), "cannot read {}: Is a directory"),
    "a FIFO": (os.mkfifo, "{} is not a regular file"),
    "a byte too many": (lambda path: path.write_bytes(bytes(9)), "{} is too large: at most 8 bytes are allowed"),
    "no size, and too many bytes": (
        lambda path: path.symlink_to("/proc/self/status"),
        "{} is too large: at most 8 bytes are allowed",
    ),
}


@pytest.mark.parametrize(("make", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_cannot_be_read_is_told_with_its_path_and_the_hints(tmp_path, make, message):
    path = tmp_path / "x.toml"
    make(path)
    with pytest.raises(LockError) as caught:
        read_bytes(path, "lftool.lock", LockError, ("a hint",), most=8)
    assert (caught.value.message, caught.value.hints) == (f"lftool.lock: {message.format(path)}", ("a hint",))


def test_a_file_of_as_many_bytes_as_are_allowed_is_read(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"12345678")
    assert read_bytes(tmp_path / "x.toml", "x", LockError, most=8) == b"12345678"


def test_toml_that_is_refused_comes_with_the_hints():
    for data in (b"=", b".".join([b"a"] * 65) + b" = 1"):
        with pytest.raises(LockError) as caught:
            parse_toml(data, "lftool.lock", LockError, ("a hint",))
        assert caught.value.hints == ("a hint",)


@given(st.binary(max_size=60) | st.text("[]{}=.,\"'\\#\n ab1-:T", max_size=60).map(str.encode))
def test_any_bytes_are_toml_or_the_error_that_was_asked_for(data):
    try:
        table = parse_toml(data, "x", LockError)
    except LockError as error:
        beginnings = ("x: not valid TOML: ", "x: it ", "x: byte 0x")
        assert error.message.startswith(beginnings)  # noqa: PT017 - either outcome is right
    else:
        assert table == tomllib.loads(data.decode())
