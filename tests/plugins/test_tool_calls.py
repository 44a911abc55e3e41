"""Calls of tools in what a model says, and conversations as templates can render them."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool_llamacpp.conversations import adapted
from lftool_llamacpp.tool_calls import CallPiece, CallReader, ToolCalling, call_schema, joined

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TAKE = {"type": "function", "function": {"name": "take"}}
FREE, REQUIRED = (ToolCalling(names=("look", "take"), required=required) for required in (False, True))


def read(calling: ToolCalling, text: str, cuts: list[int]) -> tuple[str, list[CallPiece]]:
    """Return text and calls of an answer that comes in pieces."""
    reader, said, calls = CallReader(calling), "", []
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)] or [""]
    for at, piece in enumerate(pieces):
        more, found = reader.feed(piece, last=at == len(pieces) - 1)
        said += more
        calls += found
    return said, calls


def called(calls: list[CallPiece]) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in joined(calls)]


ANSWERS = {
    "text": ("A fox.", "A fox.", []),
    "a call": ('{"name": "look", "arguments": {"at": "x"}}', "", [("look", '{"at": "x"}')]),
    "a call with parameters": (' {"name": "look", "parameters": {}}\n', "", [("look", "{}")]),
    "a call between tags": (
        'So:\n<tool_call>\n{"name": "take", "arguments": {"a": 1}}\n</tool_call>',
        "So:",
        [("take", '{"a": 1}')],
    ),
    "two calls": (
        '<tool_call>{"name": "take", "arguments": {}}</tool_call>\n<tool_call>{"name": "look", "arguments": {}}</tool_call>',
        "",
        [("take", "{}"), ("look", "{}")],
    ),
    "a call of what is not there": ('{"name": "go", "arguments": {}}', '{"name": "go", "arguments": {}}', []),
    "an object": ('{"a": 1}', '{"a": 1}', []),
    "a call that is cut": ('<tool_call>{"name": "ta', '<tool_call>{"name": "ta', []),
    "an angle": ("1 < 2 <tool", "1 < 2 <tool", []),
    "nothing": ("", "", []),
}


@pytest.mark.parametrize(("text", "said", "calls"), ANSWERS.values(), ids=ANSWERS.keys())
@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_calls_are_told_from_text_however_an_answer_comes(text, said, calls, cuts):
    got, found = read(FREE, text, cuts)
    assert (got, called(found)) == (said, calls)


HELD = {
    "a call": ('{"name": "look", "arguments": {"at": {"x": "}"}}}', [("look", '{"at": {"x": "}"}}')]),
    "a call with spaces": (' { "name" : "look" , "arguments" : {} } ', [("look", "{}")]),
    "a call that is cut": ('{"name": "look", "arguments": {"at": {"x": 1}', [("look", '{"at": {"x": 1}')]),
}


@pytest.mark.parametrize(("text", "calls"), HELD.values(), ids=HELD.keys())
@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_a_required_call_comes_as_its_arguments_do(text, calls, cuts):
    said, found = read(REQUIRED, text, cuts)
    assert (said, called(found)) == ("", calls)
    assert [piece.name for piece in found if piece.name] == ["look"]


@given(st.text(), st.lists(st.integers(0, 200), max_size=6))
def test_any_text_is_told_whole_or_is_calls(text, cuts):
    said, calls = read(FREE, text, cuts)
    assert said == text or calls


def test_one_of_several_tools_is_called_by_name():
    assert call_schema([TAKE])["properties"]["name"] == {"const": "take"}
    assert [one["properties"]["name"]["const"] for one in call_schema([LOOK, TAKE])["anyOf"]] == ["look", "take"]


CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
SAID = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "Look!"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "a fox"},
    {"role": "tool", "tool_call_id": "2", "content": "a drum"},
]


def test_a_template_that_knows_no_tools_gets_words():
    made = adapted(SAID, (LOOK,), "{{ messages }}")
    assert [message["role"] for message in made] == ["system", "user", "assistant", "user"]
    assert made[0]["content"].startswith("Be kind.\n\nYou may call these functions")
    assert json.dumps(LOOK["function"]) in made[0]["content"]
    assert made[2] == {"role": "assistant", "content": '{"name": "look", "arguments": {"at": 1}}'}
    assert made[3]["content"] == "Result: a fox\nResult: a drum"


def test_a_template_that_knows_tools_gets_arguments_as_objects():
    template = "{% if tools %}{{ message.tool_calls }}{% if role == 'tool' %}"
    made = adapted(SAID, (LOOK,), template)
    assert [message["role"] for message in made] == ["system", "user", "assistant", "tool", "tool"]
    assert made[2]["tool_calls"][0]["function"] == {"name": "look", "arguments": {"at": 1}}
    assert (made[0]["content"], made[2]["content"]) == ("Be kind.", "")
