"""Three places know which architectures only embed, because none can import another: they must agree."""

from __future__ import annotations

import re

import lftool_llamacpp
from lftool.builtin.python_runtime import runner
from lftool.formats.model_kind import ENCODERS


def native_source() -> str:
    from pathlib import Path

    return (Path(lftool_llamacpp.__file__).parent / "native" / "kind.cpp").read_text()


def test_the_runner_knows_the_same_encoders():
    assert set(runner.ENCODERS) == ENCODERS


def test_the_native_runtime_knows_the_same_encoders():
    listed = native_source().partition("ENCODERS[] = {")[2].partition("};")[0]
    assert set(re.findall(r'"([^"]+)"', listed)) == ENCODERS


def test_both_runtimes_take_as_many_tokens():
    (most,) = re.findall(r"MOST\s+= (\d+);", native_source())
    assert int(most) == runner.MOST_TOKENS
