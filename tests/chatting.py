"""What a chat does on a terminal, whatever runtime answers: tests that each runtime inherits."""

from __future__ import annotations

import json
import stat
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lftool.testing import ProjectFolder

QUESTION = "Tell me a story about a fox."
ENDLESS = ("--temperature", "100", "--max-tokens", "100000")  # it does not come upon an end by chance


class Chat:
    """`lftool run` on a terminal, and where it keeps what is said."""

    def __init__(self, terminal: Terminal, state: Path, prompt: str) -> None:
        self.terminal, self.state, self._prompt = terminal, state, prompt
        self.ready()

    def ready(self) -> None:
        """Wait for the prompt, and until the editor listens."""
        self.terminal.wait_for(self._prompt)
        time.sleep(0.2)

    def say(self, text: str) -> None:
        """Type a message, and wait until it is dealt with."""
        self.terminal.type(text + "\r")
        self.ready()

    def saved(self) -> tuple[str, list[list[str]]]:
        """Return system prompt and turns of the conversation."""
        self.say("/save now")
        found = json.loads((self.state / "chats" / "now").read_text())
        return found["system"], found["turns"]


class ChatTests:
    """Inherit, and give it a fixture `bundle`: the model to talk to."""

    engine: tuple[str, ...] = ()
    prompt = "> "
    continuation = r"\. "

    @pytest.fixture
    def chat(self, bundle: Path, project: ProjectFolder):
        """Start a chat with some options."""
        opened: list[Terminal] = []

        def start(*options: str, columns: int = 80) -> Chat:
            variables = project.environment
            command = [sys.executable, "-m", "lftool.cli.entry", "run", bundle, *self.engine, *options]
            opened.append(Terminal(command, project.root, variables, columns))
            return Chat(opened[-1], project.home / "state" / "lftool", self.prompt)

        yield start
        for terminal in opened:
            terminal.close()

    def test_two_turns_are_one_conversation(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--system", "You tell stories.")
        talk.say(QUESTION)
        talk.say("And one about a cat.")
        system, turns = talk.saved()
        assert system == "You tell stories."
        assert [asked for asked, _ in turns] == [QUESTION, "And one about a cat."]
        assert all(said for _, said in turns)
        talk.terminal.type("\x04")
        assert talk.terminal.end() == 0

    @pytest.mark.parametrize("columns", [80, 40])
    def test_lines_break_between_words(self, chat: Callable[..., Chat], columns: int) -> None:
        talk = chat("--temperature", "0", columns=columns)
        talk.say(QUESTION)
        ((_, said),) = talk.saved()[1]
        lines = talk.terminal.lines()
        begin = next(n for n, line in enumerate(lines) if line.startswith("Once upon"))
        shown: list[str] = []
        while " ".join(shown).split() != said.split():
            assert len(lines[begin]) < columns
            shown.append(lines[begin])
            begin += 1
        assert len(shown) > 2

    def test_a_long_question_wraps_without_looking_like_several_lines(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "6", columns=40)
        talk.terminal.type("Tell me a story about a fox and a cat that met on a hill one day.")
        time.sleep(0.5)
        shown = talk.terminal.lines()[-2:]
        assert "> Tell me a story" in shown[0]
        assert not shown[1].startswith(("...", ". "))
        assert shown[1].endswith("day.")

    def test_ctrl_c_stops_an_answer_and_keeps_the_conversation(self, chat: Callable[..., Chat]) -> None:
        talk = chat(*ENDLESS, "--ctx", "512")
        talk.say("/system You are Otto.")
        talk.terminal.type(QUESTION + "\r")
        talk.terminal.wait_for(r"fox\.[^>]*[a-z]{3}")
        talk.terminal.interrupt()
        talk.terminal.wait_for(r"\(stopped\)")
        talk.ready()
        system, turns = talk.saved()
        assert (system, [asked for asked, _ in turns]) == ("You are Otto.", [QUESTION])

    def test_ctrl_c_twice_leaves(self, chat: Callable[..., Chat]) -> None:
        talk = chat()
        talk.terminal.interrupt()
        talk.terminal.wait_for("Ctrl-C once more, or Ctrl-D, ends the conversation.")
        talk.ready()
        talk.terminal.interrupt()
        assert talk.terminal.end() == 130

    def test_a_paste_of_several_lines_is_one_message(self, chat: Callable[..., Chat]) -> None:
        talk = chat()
        talk.terminal.paste("Tell me\na story\nabout a fox.")
        time.sleep(0.3)
        talk.say("")
        assert [asked for asked, _ in talk.saved()[1]] == ["Tell me\na story\nabout a fox."]

    def test_triple_quotes_hold_a_message_of_several_lines(self, chat: Callable[..., Chat]) -> None:
        talk = chat()
        talk.terminal.type('"""Tell me a story\r')
        talk.terminal.wait_for(self.continuation)
        time.sleep(0.2)
        talk.say('about a fox."""')
        assert [asked for asked, _ in talk.saved()[1]] == ["Tell me a story\nabout a fox."]

    def test_a_full_context_forgets_the_oldest_turns_and_keeps_question_and_system_prompt(
        self, chat: Callable[..., Chat]
    ) -> None:
        talk = chat("--ctx", "256", "--max-tokens", "60", "--system", "You tell stories.")
        questions = [f"Tell me a story about a fox and number {number}." for number in range(4)]
        for question in questions:
            talk.say(question)
        system, turns = talk.saved()
        assert system == "You tell stories."
        assert 0 < len(turns) < len(questions)
        assert [asked for asked, _ in turns] == questions[-len(turns) :]
        shown = " ".join(" ".join(talk.terminal.lines()).split())
        assert "(the context of 256 tokens is full: the oldest turn is forgotten)" in shown

    def test_a_question_that_is_longer_than_the_context_is_named_and_nothing_is_lost(
        self, chat: Callable[..., Chat]
    ) -> None:
        talk = chat("--ctx", "256", "--max-tokens", "20")
        talk.say(QUESTION)
        talk.terminal.type("fox " * 400 + "\r")
        talk.terminal.wait_for(r"the question has \d+ tokens, and the context 256")
        talk.ready()
        talk.say("And a cat.")
        assert [asked for asked, _ in talk.saved()[1]][-1] == "And a cat."

    def test_an_answer_that_was_cut_off_says_why(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "6")
        talk.terminal.type(QUESTION + "\r")
        talk.terminal.wait_for(r"\(cut off: --max-tokens 6\)")

    def test_stats_are_shown_where_they_are_asked_for(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "6", "--stats")
        talk.terminal.type(QUESTION + "\r")
        talk.terminal.wait_for(r"6 tokens in \d+\.\d s \(\d+\.\d tokens/s\), first token after \d+\.\d\d s")
        talk.ready()
        talk.terminal.type("/stats\r")
        talk.terminal.wait_for("figures after each answer: off")

    def test_an_answer_that_is_asked_for_again_is_another_one(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "20", "--temperature", "20", "--seed", "1")
        talk.say(QUESTION)
        first = talk.saved()
        talk.say("/regenerate")
        again = talk.saved()
        assert [asked for asked, _ in again[1]] == [QUESTION]
        assert again != first

    def test_commands_change_the_conversation(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "6")
        talk.say(QUESTION)
        talk.say("/save first")
        talk.say("/system Be brief.")
        talk.say("/regenerate")
        system, turns = talk.saved()
        assert (system, [asked for asked, _ in turns]) == ("Be brief.", [QUESTION])
        talk.say("/clear")
        assert talk.saved() == ("Be brief.", [])
        talk.say("/load first")
        system, turns = talk.saved()
        assert (system, [asked for asked, _ in turns]) == ("", [QUESTION])
        talk.terminal.type("/nothing\r")
        talk.terminal.wait_for("There is no command /nothing; /help lists them.")
        talk.ready()
        talk.terminal.type("/help\r")
        talk.terminal.wait_for("/regenerate +answer the last question again")
        talk.ready()
        talk.terminal.type("/bye\r")
        assert talk.terminal.end() == 0

    def test_what_is_typed_during_an_answer_waits_for_the_next_question(self, chat: Callable[..., Chat]) -> None:
        talk = chat(*ENDLESS, "--ctx", "512")
        talk.terminal.type(QUESTION + "\r")
        talk.terminal.wait_for(r"fox\.[^>]*[a-z]{3}")
        talk.terminal.type("typed early")
        talk.ready()
        assert "typed early" in talk.terminal.lines()[-1]
        ((_, said),) = [turn for turn in self.after_line(talk) if turn[0] == QUESTION]
        assert "typed early" not in said

    @staticmethod
    def after_line(talk: Chat) -> list[list[str]]:
        """Return the turns, once what waits on the line has been said as well."""
        talk.terminal.type("\x7f" * len("typed early"))
        return talk.saved()[1]

    def test_what_is_kept_is_for_the_user_alone(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "6")
        talk.say(QUESTION)
        talk.saved()
        talk.terminal.type("\x04")
        assert talk.terminal.end() == 0
        kept = [path for path in talk.state.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
        assert (talk.state / "chats" / "now") in kept

    def test_a_conversation_is_saved_by_name_in_one_folder(self, chat: Callable[..., Chat]) -> None:
        talk = chat("--max-tokens", "6")
        talk.terminal.type("/save ../elsewhere\r")
        talk.terminal.wait_for(r"give\s+a\s+name,\s+not\s+a\s+path")
