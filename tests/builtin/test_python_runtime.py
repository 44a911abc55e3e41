"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "8121bc36021a9884cde1a66e5c635ecded05426d4b54ce9f46b84df4ae495226"
RUNNER = "ec5752eb22feee59d36043e11f0ff3b9ecd0fd5e35a7be9a32f98b8ec591e6d5"
RUNTIME = "053a0ba75c72de1b27ee3d7d22c9951e6e356f7278dee4342e3a131a684ab4b8"


def test_runtime_python_1_has_the_bytes_that_bundles_name():
    """A change of prefix or runner is a new number, python/2, beside this one."""
    parts = PythonRuntime().parts()
    found = [Digest.of(parts.prefix).hex, Digest.of(parts.members[0].data).hex, runtime_digest(parts).hex]
    assert found == [PREFIX, RUNNER, RUNTIME]


def test_the_prefix_is_a_script_that_any_posix_shell_starts():
    assert PythonRuntime().parts().prefix.startswith(b"#!/bin/sh\n")
