"""Tests of fetching begin without a cache."""

import pytest


@pytest.fixture
def known_tools() -> None:
    """Tests here begin without a cache."""
