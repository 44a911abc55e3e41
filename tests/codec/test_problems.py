"""Hints for keys that are nearly right, and lines that name the path of each problem."""

from __future__ import annotations

import pytest
from attrs import field, frozen

from lftool.codec.problems import nearest
from lftool.codec.toml_in import structure
from lftool.errors import RecipeError


@pytest.mark.parametrize(
    ("wrong", "valid", "hint"),
    [
        ("contex", ["context", "seed"], "; did you mean 'context'?"),
        ("top-k", ["top_p", "top_k"], "; did you mean 'top_k'?"),
        ("KEY", ["key", "other"], "; did you mean 'key'?"),
        ("x", ["b", "a"], "; valid: a, b"),
        ("abcde", ["abxyz"], "; valid: abxyz"),
        ("abcde", ["abcxy"], "; did you mean 'abcxy'?"),
        ("x", [], ""),
    ],
)
def test_the_nearest_valid_key_is_named_or_all_are(wrong, valid, hint):
    assert nearest(wrong, valid) == hint


def _even(_instance: object, _attribute: object, value: int) -> None:
    if value % 2:
        raise ValueError("must be even", "more")


def _coded(_instance: object, _attribute: object, value: int) -> None:
    if value == 1:
        raise ValueError(7, "seven")
    if value == 2:
        raise ValueError


@frozen(kw_only=True)
class Inner:
    """A table in a table."""

    count: int = field(default=0, validator=_even)
    code: int = field(default=0, validator=_coded)
    names: tuple[str, ...] = ()
    long_key: str = field(default="", metadata={"key": "long-key"})


@frozen(kw_only=True)
class Outer:
    """A file."""

    inner: Inner


def problem(table: dict[str, object]) -> str:
    with pytest.raises(RecipeError) as caught:
        structure({"inner": table}, Outer, "f", RecipeError)
    return caught.value.message


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"count": 1}, "f: $.inner.count: must be even"),
        ({"code": 1}, "f: $.inner.code: (7, 'seven')"),
        ({"code": 2}, "f: $.inner.code: "),
        ({"count": "1"}, "f: $.inner.count: expected an integer, got a string"),
        ({"names": ["a", 1]}, "f: $.inner.names[1]: expected a string, got an integer"),
        ({"names": "a"}, "f: $.inner.names: expected an array, got a string"),
        ({"long-key": 1}, "f: $.inner.long-key: expected a string, got an integer"),
        ({"long_key": "x"}, "f: $.inner.long_key: unknown key; did you mean 'long-key'?"),
    ],
)
def test_a_problem_is_one_line_with_its_path(table, line):
    assert problem(table) == line


def test_all_problems_are_named_in_the_order_of_the_fields():
    assert problem({"zz": 1, "count": 1, "aa": 1, "names": 5}).splitlines() == [
        "f: $.inner.count: must be even",
        "f: $.inner.names: expected an array, got an integer",
        "f: $.inner.aa: unknown key; valid: code, count, long-key, names",
        "f: $.inner.zz: unknown key; valid: code, count, long-key, names",
    ]
