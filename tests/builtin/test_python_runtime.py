"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "@PREFIX@"
RUNNER = "@RUNNER@"
RUNTIME = "@RUNTIME@"


def test_runtime_python_1_has_the_bytes_that_bundles_name():
    """A change of prefix or runner is a new number, python/2, beside this one."""
    parts = PythonRuntime().parts()
    found = [Digest.of(parts.prefix).hex, Digest.of(parts.members[0].data).hex, runtime_digest(parts).hex]
    assert found == [PREFIX, RUNNER, RUNTIME]


def test_the_prefix_is_a_script_that_any_posix_shell_starts():
    assert PythonRuntime().parts().prefix.startswith(b"#!/bin/sh\n")
