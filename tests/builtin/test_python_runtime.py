"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "3c3dfef1b91fef309586c8705dfd2edcd43d4c1e35b7f283972462c340049462"
RUNNER = "79afd5ad9231c47e91e4211a4019118b3f5b8d030d5c21789312ac5e9fae2454"
RUNTIME = "a7a2d74756ffe0ffd3504c963f888fd559edf589388a780ff1ac068af000f7d9"


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
