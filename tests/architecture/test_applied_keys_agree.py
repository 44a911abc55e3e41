"""What is applied of the run contract stands in four places that cannot share a list: they agree."""

from __future__ import annotations

import re
from pathlib import Path

import lftool_llamacpp
from lftool.api.gguf import GGML_TYPES
from lftool.builtin.python_runtime import PythonRuntime
from lftool.models.run_keys import RUN_KEYS
from lftool_llamacpp.applied import APPLIED
from lftool_llamacpp.server import load_script

NATIVE = Path(lftool_llamacpp.__file__).parent / "native" / "applied.cpp"


def test_every_runtime_and_engine_of_ours_applies_every_key():
    block = re.search(r"std::string> APPLIED = \{(.*?)\};", NATIVE.read_text(), re.DOTALL)
    found = {
        "plugins": sorted(APPLIED),
        "runner": sorted(load_script(str(PythonRuntime().runner())).APPLIED),
        "native": sorted(re.findall(r'"(\w+)"', block[1])),
    }
    assert found == dict.fromkeys(found, sorted(RUN_KEYS))


def test_the_runner_numbers_cache_types_as_ggml_does():
    types = load_script(str(PythonRuntime().runner())).CACHE_TYPES
    assert types == {name: GGML_TYPES[name.upper()].number for name in types}
