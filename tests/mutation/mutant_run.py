"""A pytest plugin for the runs of mutmut (tools/mutation.py): what is shared by tests counts for each, and nothing is kept.

mutmut runs, for a mutant, the tests that called its function. Calls of fixtures that many tests share would count for
the first of them only.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from mutmut.state import state

from lftool.codec.converter import converter

_LONGEST_RUN = 300  # seconds
_LARGEST_FILE = 5 << 30  # bytes; the tests make sparse files of 4 GiB
_CALLED_BY_FIXTURE: dict[object, set[str]] = {}

# Nobody reads the example that failed, and looking for a smaller one takes longer than the tests.
settings.register_profile("mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))


def pytest_sessionstart() -> None:
    """Forget what was made by functions before the mutant was put in their place; remove what ended runs have left.

    A mutant that copies without end is stopped before the disk is full, which other mutants' tests would notice.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, resource.RLIM_INFINITY))
    converter.cache_clear()
    for folder in Path(tempfile.gettempdir()).glob("pytest-of-*/pytest-[0-9]*"):
        if time.time() - folder.stat().st_mtime > _LONGEST_RUN:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what the tests made: thousands of runs with a failed test leave more than a disk holds."""
    made = session.config._tmp_path_factory._basetemp
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)


def _is_shared(item: pytest.Function) -> bool:
    """Return whether a test needs what takes time to set up: a fixture of ours for a module or the whole session."""
    definitions = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
    return any(each.scope != "function" and each.baseid.startswith("tests/") for each in definitions)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Begin with the tests that are likely to notice soon: those of the mutant's own package, the quick ones first."""
    package = os.environ.get("MUTANT_UNDER_TEST", "").split(".")[1:2]
    items.sort(key=lambda item: (_is_shared(item), item.path.parent.name not in package))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Forget it before each test while mutmut notes what tests call: the converter is made once, and used by many."""
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        converter.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: object) -> object:
    """Note which functions a fixture calls."""
    called = state()._stats
    before = set(called)
    called.clear()
    try:
        return (yield)
    finally:
        _CALLED_BY_FIXTURE.setdefault(fixturedef, set()).update(called)
        called.update(before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Function) -> None:
    """Count them for every test that uses it."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    for definitions in fixtures:
        state()._stats.update(*(_CALLED_BY_FIXTURE.get(definition, ()) for definition in definitions))
