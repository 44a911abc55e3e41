"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "3c3dfef1b91fef309586c8705dfd2edcd43d4c1e35b7f283972462c340049462"
RUNNER = "2bd5df4d382103aba19a0a386da9d5b6366d53f2aa4bb6f230e9e97839ac0905"
RUNTIME = "2f71eb00b52af041c82f09427a34c2f2e648d3bb12de1135eaa0ac9f97599775"


def test_runtime_python_1_has_the_bytes_that_bundles_name():
    """A change of prefix or runner is a new number, python/2, beside this one."""
    parts = PythonRuntime().parts()
    found = [
        Digest.of(parts.prefix).hex,
        Digest.of(parts.members[0].data).hex,
        runtime_digest(Digest.of(parts.prefix), parts.members).hex,
    ]
    assert found == [PREFIX, RUNNER, RUNTIME]


def test_the_prefix_is_a_script_that_any_posix_shell_starts():
    assert PythonRuntime().parts().prefix.startswith(b"#!/bin/sh\n")
