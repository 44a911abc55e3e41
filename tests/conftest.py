"""Fixtures of the whole suite; a test that changes the environment fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.long import is_long, unused

pytest_plugins = ["lftool.testing.plugin"]

ROOT = Path(__file__).resolve().parent.parent


# Shells ignore Ctrl-C for what they start in the background (`make test &`), and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that only `make test-long` runs."""
    names = [item.nodeid for item in items]
    if config.args == config.getini("testpaths") and unused(names):
        raise pytest.UsageError(f"tests/long.py has patterns of no test: {unused(names)}")
    for item in items:
        if is_long(item.nodeid):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def unchanged_environment():
    """Fail a test that leaks a variable or a working directory."""
    before, folder = dict(os.environ), Path.cwd()
    yield
    after = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    before.pop("PYTEST_CURRENT_TEST", None)
    assert after == before, "the test changed the environment"
    assert Path.cwd() == folder, "the test changed the working directory"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return ROOT
