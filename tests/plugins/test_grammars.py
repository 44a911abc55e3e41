"""Which grammars lftool takes, compared with llama.cpp's own parser."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.models.gbnf import check_gbnf

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
