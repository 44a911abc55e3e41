"""Fixtures of the whole suite; a test that changes the environment fails."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.known_tools import give, learn

if TYPE_CHECKING:
    from lftool.testing import ProjectFolder

pytest_plugins = ["lftool.testing.plugin"]

ROOT = Path(__file__).resolve().parent.parent

# `make test COVERAGE=1` measures the processes of pytest. What they start may be confined, or killed: it could not write
# what it has measured.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

# Shells ignore Ctrl-C for what they start in the background (`make test &`), and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the cases that `slow_cases` names, by a pattern searched for in `test_name[case]`."""
    for item in items:
        if any(re.search(mark.args[0], item.name) for mark in item.iter_markers("slow_cases")):
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
def known_tools(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """What `give` puts into caches."""
    base = tmp_path_factory.getbasetemp()
    return learn(base if worker_id == "master" else base.parent)


@pytest.fixture
def project(project: ProjectFolder, known_tools: Path | None) -> ProjectFolder:
    """An empty project whose tools have been used before on this machine.

    Where that matters, `known_tools` is overridden: None is a cache that does not exist.
    """
    if known_tools is not None:
        give(known_tools, project.home)
    return project


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return ROOT
