"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "3c3dfef1b91fef309586c8705dfd2edcd43d4c1e35b7f283972462c340049462"
RUNNER = "2d0af8269fa1117598ef728380fab4ca0d956792f19f07f2237a052b8f7b6082"
RUNTIME = "d4b6b4f594a9e5918d3f3b19f793895061a0a74317fe25b834ca236119469aa3"


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
