"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "3c3dfef1b91fef309586c8705dfd2edcd43d4c1e35b7f283972462c340049462"
RUNNER = "9c0412c3cdbc958755e5f4d8430d7429560a282723e3748885438096e2326ee3"
RUNTIME = "fb397595266ad103898cf05b5ba35957361f92013976f07c2bf1737a65c3bdea"


def test_runtime_python_1_has_the_bytes_that_bundles_name():
    """A change of prefix or runner is a new number, python/2, beside this one."""
    parts = PythonRuntime().parts()
    found = [Digest.of(parts.prefix).hex, Digest.of(parts.members[0].data).hex, runtime_digest(parts).hex]
    assert found == [PREFIX, RUNNER, RUNTIME]


def test_the_prefix_is_a_script_that_any_posix_shell_starts():
    assert PythonRuntime().parts().prefix.startswith(b"#!/bin/sh\n")
