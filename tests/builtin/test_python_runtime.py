"""Runtime python/1 is frozen: bundles and locks name its digest for ever."""

from __future__ import annotations

from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.digest import Digest
from lftool.pipeline.identity import runtime_digest

PREFIX = "3c3dfef1b91fef309586c8705dfd2edcd43d4c1e35b7f283972462c340049462"
RUNNER = "d7d2f2ce9b275a058901abab51fae046d7bc8af51de580d513a1fa647285b53f"
RUNTIME = "4d7f5c4da89bf999a59c832639f8573694efa7f9642143919c6e43097608be12"


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
