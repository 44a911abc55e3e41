"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "3c3dfef1b91fef309586c8705dfd2edcd43d4c1e35b7f283972462c340049462"
RUNNER = "f5075edc30dcdc6a4d5031f460c70d951ddf864d0a2bba153eee7faaffd91cd4"
RUNTIME = "3e9c4a6d7bd19b24a5e5f0c35292c97cb6f8c17dc536e0a96071629297b946de"


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
