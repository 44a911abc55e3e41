"""A chat with the native runtime: the same as with llama-cpp-python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.chatting import ChatTests

if TYPE_CHECKING:
    from pathlib import Path


class TestChat(ChatTests):
    """A bundle that needs no Python, started by `lftool run`."""

    @pytest.fixture
    def project(self, story):
        return story

    @pytest.fixture
    def bundle(self, story) -> Path:
        return story.root / "dist" / "story-1-native.llamafile"
