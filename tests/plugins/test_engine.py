"""llama-cpp-python whose library cannot be loaded, as on a machine without libgomp."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib.abc
import sys


class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "llama_cpp":
            raise RuntimeError("Failed to load shared library 'libllama.so': libgomp.so.1: cannot open")


sys.meta_path.insert(0, Broken())
from lftool.api import UnavailableError

try:
    import lftool_llamacpp.engine
except UnavailableError as error:
    print(error.message, *error.hints, sep="\\n")
"""


def test_what_is_missing_is_said_with_what_to_do():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "llama-cpp-python cannot load its library: Failed to load shared library 'libllama.so': libgomp.so.1: cannot open",
        "install what is missing (Debian: apt install libgomp1)",
        "or build it here: lftool help install",
    ]
