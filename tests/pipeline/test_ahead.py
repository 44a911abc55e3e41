"""Fingerprints are made while files are fetched."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
from attrs import define, field
from tests.pipeline.test_executor import inside

from lftool.ops.build import BuildOptions, build_project
from lftool.ops.project import find_project
from lftool.pipeline.graph.steps import Fetch, Quantize
from lftool.pipeline.identity import probe_action
from lftool.pipeline.tools.tool import mixture_of, tool_of
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""
PATIENCE = 60.0


@pytest.fixture
def empty(project):
    """A locked project with a quantised target, and an empty cache."""
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(RECIPE)
    project.run("lock").assert_success()
    shutil.rmtree(project.home / "cache")
    return project


@define
class FetchesLast:
    """Begins to fetch only when the fingerprint of the quantize step is known."""

    known: bool = False
    order: list[str] = field(factory=list)

    def run(self, work) -> None:
        while ready := work.ready():
            step = ready[0]
            work.begin(step)
            if isinstance(step, Fetch):
                self._wait(work)
            work.do(step, threads=1)
            self.order.append(step.stage)

    def _wait(self, work) -> None:
        ports = work.ports
        (step,) = (step for step in work.graph if isinstance(step, Quantize))
        tool = tool_of(ports.registry.quantizer("Q8_0", step.locked.quantizer), ports)
        keys = [tool.key] if mixture_of(tool, ports) is None else [tool.key, mixture_of(tool, ports).key]
        end = time.monotonic() + PATIENCE
        while not self.known and time.monotonic() < end:
            self.known = ports.store.remembers(probe_action(keys, step.locked.uses), "fingerprint")
            time.sleep(0.02)


def test_a_fingerprint_is_made_before_the_weights_are_there(empty):
    executor = FetchesLast()
    with inside(empty) as ports:
        build_project(find_project(None), ports(), BuildOptions(sign=False, executor=executor))
    assert (executor.known, executor.order) == (True, ["fetch", "quantize", "pack"])


@define
class Watching:
    """Does one step after the other, and notes whether fingerprints are being made meanwhile."""

    ahead: list[bool] = field(factory=list)

    def run(self, work) -> None:
        self.ahead.append(any(thread.name == "fingerprints" for thread in threading.enumerate()))
        while ready := work.ready():
            work.begin(ready[0])
            work.do(ready[0], threads=1)


def test_nothing_is_made_ahead_where_nothing_is_fetched(empty):
    executor = Watching()
    with inside(empty) as ports:
        build_project(find_project(None), ports(), BuildOptions(sign=False, executor=executor))
        shutil.rmtree(empty.home / "cache" / "lftool" / "ac-v2")
        shutil.rmtree(empty.root / "dist")
        build_project(find_project(None), ports(), BuildOptions(sign=False, executor=executor))
    assert executor.ahead == [True, False]
