"""A long prompt is read in batches: a terminal shows how far it is, the model gets every token once, Ctrl-C stops it."""

from __future__ import annotations

import io

import pytest

from lftool.builtin.python_runtime import runner


class Model:
    """A port of llama-cpp-python's model: notes the batches that it is given."""

    n_batch = 4

    n_tokens = 0
    input_ids = range(64)

    def __init__(self):
        self.batches = []

    def eval(self, tokens):
        self.batches.append(list(tokens))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown_on(file, monkeypatch):
    """Have the runner write to `file`; in the test itself, since pytest sets its own before."""
    monkeypatch.setattr(runner.sys, "stderr", file)
    return file


def test_a_long_prompt_is_read_in_batches_and_says_how_far_it_is(monkeypatch):
    terminal = shown_on(Terminal(), monkeypatch)
    model = Model()
    reading = runner.Reading(model)

    model.eval(list(range(10)))
    reading.erase()

    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert terminal.getvalue() == (
        "\rreading the prompt: 0 %\rreading the prompt: 40 %\rreading the prompt: 80 %\r" + " " * 24 + "\r"
    )


def test_a_short_prompt_is_read_in_one_and_says_nothing(monkeypatch):
    terminal = shown_on(Terminal(), monkeypatch)
    model = Model()
    reading = runner.Reading(model)

    model.eval([1, 2, 3, 4])
    reading.erase()

    assert (model.batches, terminal.getvalue()) == ([[1, 2, 3, 4]], "")


def test_nothing_is_shown_where_there_is_no_terminal(monkeypatch):
    file = shown_on(io.StringIO(), monkeypatch)
    model = Model()
    runner.Reading(model)

    model.eval(list(range(6)))

    assert (model.batches, file.getvalue()) == ([[0, 1, 2, 3], [4, 5]], "")


def test_reading_can_be_stopped_between_batches():
    model = Model()
    reading = runner.Reading(model)

    def look():
        raise runner.Stopped

    reading.look = look

    with pytest.raises(runner.Stopped):
        model.eval(list(range(10)))
    assert model.batches == [[0, 1, 2, 3]]


def test_a_prompt_without_room_for_an_answer_is_refused_before_it_is_read():
    model = Model()
    runner.Reading(model)

    with pytest.raises(
        runner.TooLong,
        match="the prompt has 64 tokens and the context 64, which leaves no room for an answer; use a larger --ctx",
    ):
        model.eval(list(range(64)))
    assert model.batches == []
