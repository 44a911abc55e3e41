"""Observers watch: what they raise is said once, and changes nothing."""

from __future__ import annotations

import threading

import pytest

from lftool.api import Notice, ObserverType
from lftool.host.discovery import Plugin
from lftool.host.origin import Origin
from lftool.host.registry import Registry
from lftool.ops.project import observing
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.plain]
layout = "gguf"
"""

OBSERVER = """
import pathlib

def watch(event):
    with pathlib.Path({path!r}).open("a") as file:
        stage = [str(getattr(event, name)) for name in ("stage", "target", "cached") if hasattr(event, name)]
        file.write(" ".join([type(event).__name__, *stage]) + "\\n")
    {action}

def factory():
    {make}

@hookimpl
def lftool_observers():
    yield ObserverType(name="watching", summary="", factory=factory)
"""


@pytest.fixture
def seen(tmp_path):
    return tmp_path / "seen"


@pytest.fixture
def build(site, lftool, seen):
    def run(*, action="pass", make="return watch"):
        site.install("watching", OBSERVER.format(path=str(seen), action=action, make=make))
        tiny_gguf(lftool.project.root / "model.gguf", width=32)
        lftool.project.write_recipe(RECIPE)
        lftool.project.run("lock").assert_success()
        return lftool("build").assert_success()

    return run


def test_observer_sees_each_stage_of_a_build_begin_and_end(build, lftool, seen):
    build()
    fetched, packed = ("fetch base True", "pack plain False")
    assert seen.read_text().splitlines() == [
        f"StageStarted {fetched}",
        f"StageFinished {fetched}",
        f"StageStarted {packed}",
        f"StageFinished {packed}",
        "Notice",
    ]

    seen.unlink()
    lftool("build").assert_success()
    stages = [line for line in seen.read_text().splitlines() if line.startswith("Stage")]
    assert stages[-2:] == ["StageStarted pack plain True", "StageFinished pack plain True"]


def test_observer_that_raises_is_dropped_and_the_build_goes_on(build, seen):
    done = build(action="raise ValueError('boom')")
    assert len(seen.read_text().splitlines()) == 1
    assert done.err.count("plugin 'watching' of watching 1.0 failed: ValueError: boom\n") == 1


def test_observer_that_cannot_be_made_is_dropped_and_the_build_goes_on(build, seen):
    done = build(make="raise OSError('no display')")
    assert not seen.exists()
    assert done.err.count("plugin 'watching' of watching 1.0 failed: OSError: no display\n") == 1


def test_observer_is_not_pinned(build, lftool):
    build()
    assert "watching" not in lftool.project.lock.read_text()


def test_observer_that_fails_in_two_threads_at_once_is_dropped_once(caplog):
    together = threading.Barrier(2, timeout=30)

    def watch(event):
        together.wait()
        raise ValueError("boom")

    origin = Origin(distribution="watching", version="1.0", entry_point="watching", module="watching")
    record = ObserverType(name="watching", summary="", factory=lambda: watch)
    emit = observing(Registry([Plugin(origin=origin, status="active", records=(("lftool_observers", record),))]), {})
    raised = []

    def work():
        try:
            emit(Notice(text="hello"))
        except Exception as error:  # noqa: BLE001 - the assertion shows it
            raised.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert caplog.messages == ["plugin 'watching' of watching 1.0 failed: ValueError: boom"]
