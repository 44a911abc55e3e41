"""Tokens become text: whole characters, and an end at stop strings."""

from __future__ import annotations

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from lftool_llamacpp.requests import Asked
from lftool_llamacpp.token_stream import Piece, TokenChance, answer, held_back

ASKED = Asked(
    chat=False,
    sampling={},
    biases={},
    most=None,
    stop=(),
    seed=None,
    afresh=False,
    count=1,
    logprobs=None,
    stream=True,
    usage=False,
)


@frozen
class Bytes:
    """A model whose tokens are bytes; 256 ends."""

    says: bytes
    context: int = 1000

    def generate(self, tokens, asked, seed, check):
        yield from self.says
        yield 256

    def ends(self, token):
        return token == 256

    def piece(self, token):
        return bytes([token])

    def likely(self, token, count):
        return TokenChance(text=bytes([token]), logprob=-1.0)


def made(
    says: bytes, *stops: str, most: int | None = None, logprobs: int | None = None, context: int = 1000
) -> list[Piece]:
    asked = evolve(ASKED, most=most, logprobs=logprobs)
    return list(answer(Bytes(says, context), [1, 2], stops, asked, None, lambda: None))


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_text_ends_where_the_first_stop_string_begins(says, stops):
    says = says.encode("utf-8", "replace").decode()
    pieces = made(says.encode(), *stops)
    ends = [says.find(stop) for stop in stops if stop in says]
    whole = text(pieces)
    assert says.startswith(whole)
    if not ends:
        assert whole == says
    else:
        assert not any(stop in whole for stop in stops)
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]


def test_characters_come_whole():
    assert [piece.text for piece in made("aé€😀".encode()) if piece.text] == ["a", "é", "€", "😀"]


def test_bytes_that_are_no_character_are_replaced():
    assert text(made(b"a\xff\xe2\x82")) == "a\ufffd\ufffd"


def test_what_may_begin_a_stop_string_is_held_back():
    assert [piece.text for piece in made(b"a-b--c", "--!")][:3] == ["a", "-b", "--c"]


def test_an_answer_is_cut_at_its_length():
    pieces = made(b"abcdef", most=3)
    assert (text(pieces), pieces[-1].finish, pieces[-1].tokens) == ("abc", "length", 3)


def test_an_answer_is_cut_where_the_context_is_full():
    pieces = made(b"abcdef", context=6)
    assert (text(pieces), pieces[-1].finish) == ("abcd", "length")


@pytest.mark.parametrize(("stops", "told"), [((), b"abc--"), (("--",), b"abc"), (("zz",), b"abc--")])
def test_chances_are_told_of_what_is_shown(stops, told):
    pieces = made(b"abc--", *stops, logprobs=0)
    assert b"".join(chance.text for piece in pieces for chance in piece.chances) == told


@given(st.text(alphabet="ab", max_size=6), st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3))
def test_no_more_is_held_back_than_must_be(said, stops):
    begun = [size for stop in stops for size in range(1, len(stop)) if said.endswith(stop[:size])]
    assert held_back(said, stops) == max(begun, default=0)
