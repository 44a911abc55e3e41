"""Which grammars are taken, and where the error is said to be. What llama.cpp takes is in tests/plugins/test_grammars.py."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool.models.gbnf import check_characters, check_gbnf


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        check_gbnf(text)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'root ::= "yes" | "no"',
        '# what may be said\n\nroot ::= greeting " " name # and no more\ngreeting ::= "hi" |\n "hello"\nname ::= [A-Z] [a-z]*\n',
        'root ::= (\n "a"\n # between\n [^\\x00-\\x1F\\]]\n)+',
        'root ::= "\\u00e9\\U0001F600\\"\\\\\\n" [a\\-z-] .',
        'root ::= ("a" {2,3}){0,5} "b"{4} "c"{1,}',
        "root ::= <think> !</think>* </think> <[12]> .*",
        'root ::= item ("," item)*\nitem ::= "(" root ")" | ""',
        'root ::= ""',
        'root ::= "a"{2000}',
        "root ::=" + "(" * 32 + '"a"' + ")" * 32,
    ],
)
def test_a_grammar_is_taken(text):
    check_gbnf(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('root ::= "a" # "\\x00\nb ::= [a-z] | "[z-a]" (((', None),
        ('root ::= "a"\nb ::= [z-a]', "line 2 of the grammar: a range that ends before it begins, 'z-a'"),
        ('root ::= "\\x00"', "line 1 of the grammar: no text has the character \\x00"),
    ],
)
def test_the_characters_of_a_grammar_that_a_program_has_made(text, told):
    if told is None:
        check_characters(text)
        return
    with pytest.raises(ValueError, match=re.escape(told)):
        check_characters(text)


def test_it_tells_which_tokens_it_names():
    assert check_gbnf("root ::= <think> !</think>* </think> <[12]> .*") == ("<think>", "</think>", "</think>", "<[12]>")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the grammar has no rule root, which an answer begins with"),
        ('answer ::= "a"', "the grammar has no rule root, which an answer begins with"),
        ('root ::= "a"\n\nmore ::= "b', 'line 3 of the grammar: " is not closed by "'),
        ("root ::= [a-z", "line 1 of the grammar: [ is not closed by ]"),
        ('root ::= ("a"\n', "line 1 of the grammar: a parenthesis is not closed"),
        ('root ::= "a" )', "line 1 of the grammar: expected a symbol or the end of the rule, not ')'"),
        ('root = "a"', "line 1 of the grammar: expected ::= behind root, not '='"),
        ("root", "line 1 of the grammar: expected ::= behind root, not the end"),
        ('root ::= "a"\n::= "b"', "line 2 of the grammar: expected the name of a rule, not ':'"),
        ('root ::= "a"\nroot ::= "b"', "line 2 of the grammar: root is defined a second time"),
        ("root ::= one\none ::= two", "line 2 of the grammar: there is no rule two"),
        ('root ::= * "a"', "line 1 of the grammar: * has nothing before it to repeat"),
        ("root ::= ( + )", "line 1 of the grammar: + has nothing before it to repeat"),
        ('root ::= "a"{,3}', "line 1 of the grammar: a repetition is {m}, {m,} or {m,n}"),
        ('root ::= "a"{3,2}', "line 1 of the grammar: a repetition of 3 to 2"),
        ('root ::= "a"{2001}', "line 1 of the grammar: too many repetitions: at most 2000 in one another"),
        ('root ::= ("a"{100}){100}{100}', "line 1 of the grammar: too many repetitions: at most 2000 in one another"),
        ('root ::= "\\q"', "line 1 of the grammar: an unknown escape, '\\\\q'"),
        ('root ::= "\\x00"', "line 1 of the grammar: no text has the character \\x00"),
        ('root ::= "\\uD800"', "line 1 of the grammar: no text has the character \\uD800"),
        ("root ::= [a\\U00110000]", "line 1 of the grammar: no text has the character \\U00110000"),
        ("root ::= [a-cz-b]", "line 1 of the grammar: a range that ends before it begins, 'z-b'"),
        (
            'root ::= ("a"?)*',
            "line 1 of the grammar: what may match nothing repeats without end, which llama.cpp does not support",
        ),
        (
            'root ::= one{33}\none ::= "a" | "b"?',
            "line 1 of the grammar: what may match nothing repeats more than 32 times; let it match one character at least",
        ),
        ('root ::= "a"{\n2}', "line 1 of the grammar: a repetition is {m}, {m,} or {m,n}"),
        ("root ::= <[x]>", "line 1 of the grammar: a token is <text> or <[number]>"),
        ("root ::=" + "(" * 33 + '"a"' + ")" * 33, "line 1 of the grammar: more than 32 parentheses in one another"),
        ('root ::= "a\0"', "a grammar with a NUL character"),
        ("#" * 65537, "a grammar of 65537 characters, where 65536 are the most"),
        ("%llguidance {}", "line 1 of the grammar: expected the name of a rule, not '%'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, told):
    assert refusal(text) == told


@pytest.mark.parametrize(
    "text",
    [
        'root ::= root "a"',
        'root ::= "" root "a"',
        'root ::= "a"? root',
        'root ::= ("b" | root "c")',
        'root ::= one "a"\none ::= two?\ntwo ::= one "b"',
        "root ::= space root\nspace ::= [ ]*",
    ],
)
def test_a_rule_that_begins_with_itself_is_refused(text):
    assert "begins with itself, which llama.cpp does not support" in refusal(text)


def test_a_long_chain_of_rules_that_match_nothing_is_read_at_once():
    chain = "".join(f"r{number} ::= r{number + 1}\n" for number in range(4000))
    check_gbnf(f'root ::= r0\n{chain}r4000 ::= ""')
    assert "begins with itself" in refusal(f"root ::= r0\n{chain}r4000 ::= r0?")


def test_a_long_row_of_symbols_that_may_match_nothing_is_refused():
    check_gbnf("root ::= " + '"a"? ' * 32 + '"b"' + ' "a"?' * 32)
    assert "more than 32 symbols in a row that may match nothing" in refusal("root ::= " + '"a"? ' * 33)


def test_so_many_symbols_that_repeat_are_refused_at_once():
    assert "too many repetitions" in refusal("root ::= " + '"a"{2000} ' * 60)


@given(st.text(alphabet='root:=" |()[]{}*+?.,<>!#\\\n0a^-', max_size=60))
def test_any_text_is_taken_or_refused(text):
    with contextlib.suppress(ValueError):
        check_gbnf(text)
