"""Which grammars lftool takes, compared with llama.cpp's own parser."""

from __future__ import annotations

from pathlib import Path

import attrs
import llama_cpp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_cpp.llama_grammar import json_schema_to_gbnf

from lftool.models.gbnf import check_gbnf
from lftool_llamacpp.requests import BadRequestError, Limits, chat_asked, completion_asked, with_grammar
from lftool_xllamacpp.grammar import grammar_of

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"


@pytest.fixture(scope="module")
def vocabulary():
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(STORY).encode(), parameters)
    yield llama_cpp.llama_model_get_vocab(model)
    llama_cpp.llama_model_free(model)


def llama_takes(vocabulary, text: str) -> bool:
    sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, text.encode(), b"root")
    if not sampler:
        return False
    llama_cpp.llama_sampler_free(sampler)
    return True


def refusal(text: str) -> str | None:
    """Why lftool does not take a grammar; None if it does."""
    try:
        check_gbnf(text)
    except ValueError as error:
        return str(error)
    return None


SYMBOLS = st.sampled_from(
    [
        '"a"',
        '"\\\\n"',
        "[a-z]",
        "[^\\\\]x]",
        ".",
        "one",
        "two",
        "root",
        "(one)",
        '("a" | two)',
        "(\n one # a\n)",
        '""',
        "<[3]>",
    ]
)
TIMES = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,}", "{ 2 , 3 }"])
SEQUENCES = st.lists(st.tuples(SYMBOLS, TIMES).map("".join), min_size=1, max_size=3).map(" ".join)
RULES = st.lists(SEQUENCES, min_size=1, max_size=3).map(" | ".join)


@settings(max_examples=300, deadline=None)
@given(root=RULES, one=RULES, two=RULES, gone=st.sampled_from(["", "one", "two"]))
def test_what_one_takes_the_other_takes(vocabulary, root, one, two, gone):
    rules = {"root": root, "one": one, "two": two}
    text = "".join(f"{name} ::= {rule}\n" for name, rule in rules.items() if name != gone)
    taken, why = llama_takes(vocabulary, text), refusal(text)
    # What repeats and may be nothing is a left recursion that llama.cpp finds sometimes only.
    assert taken == (why is None) or (taken and "what may match nothing" in why)


@pytest.mark.parametrize(
    "text",
    [
        'root ::= "a"{1000} "b"{1,2000}',
        'root ::= (("a" | "b"){20}){100}',
        'root ::= ("a" "b"?){1999}',
        'root ::= "a"{2001}',
        'root ::= (("a"{1,40}){1,40}){2}',
        'root ::= ("a"?){1001}',
        'root ::= "\\x41\\u0041\\U00000041\\t\\r\\-\\[\\]"',
        'root ::= "\\x4"',
        'root ::= "\\a"',
    ],
)
def test_bounds_and_escapes_are_llama_cpps(vocabulary, text):
    assert (refusal(text) is None) == llama_takes(vocabulary, text)


LIMITS = Limits(vocabulary=1000, grammar=json_schema_to_gbnf, compiles=lambda _: True)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": "\0"},
        {"type": "string", "pattern": "^[z-a]$"},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "array", "minItems": "5"},
    ],
    ids=str,
)
def test_a_client_s_schema_that_makes_a_grammar_of_that_kind_is_refused(schema):
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    body = {"messages": [{"role": "user", "content": "hi"}], "response_format": wanted}
    with pytest.raises(BadRequestError, match=r"schema"):
        chat_asked(body, LIMITS)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{number}": {"type": "string", "maxLength": 20} for number in range(100)}},
        {"type": "string", "maxLength": 1000},
        {"type": "string", "pattern": "^[a-z\\\\-]{1,10}( [0-9]+)*$"},
    ],
    ids=["properties", "length", "pattern"],
)
def test_a_large_schema_is_taken(schema):
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    body = {"messages": [{"role": "user", "content": "hi"}], "response_format": wanted}
    for grammar in (json_schema_to_gbnf, grammar_of):
        if "pattern" not in schema or grammar is json_schema_to_gbnf:
            assert chat_asked(body, attrs.evolve(LIMITS, grammar=grammar)).grammar


def test_a_completion_stays_held_to_the_contract_whatever_a_field_of_chats_says():
    body = {"prompt": "a", "response_format": {"type": "text"}}
    assert with_grammar(completion_asked(body, LIMITS), body, "root ::= [a]").grammar == "root ::= [a]"
    chat = {"messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "text"}}
    assert with_grammar(chat_asked(chat, LIMITS), chat, "root ::= [a]").grammar is None
