"""A chat with llama-cpp-python: with prompt_toolkit's editor, and with the terminal's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.chatting import ChatTests

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"


@pytest.fixture(scope="session")
def known_tools() -> None:
    """A GGUF runs without any tool."""


class TestChat(ChatTests):
    """A GGUF as it is: no lock, no build."""

    prompt = r"\?2004h.*>>>"  # the editor asks for pastes as such when it begins to listen
    continuation = r"\.\.\."

    @pytest.fixture
    def bundle(self, project) -> Path:
        return Path(shutil.copyfile(STORY, project.root / "story.gguf"))


# The runner that talks is the same; these are what the engine has a part in.
@pytest.mark.slow_cases(r"^test_(?!two_turns|a_full_context|a_question_that|stats|an_answer_that_is_asked)")
class TestXllamacpp(TestChat):
    """The same with another engine."""

    engine = ("--engine", "xllamacpp")
    # With this engine, this model has answered before a key is seen. tests/native/test_requests.py has a client hang up.
    test_ctrl_c_stops_an_answer_and_keeps_the_conversation = None
    test_what_is_typed_during_an_answer_waits_for_the_next_question = None
