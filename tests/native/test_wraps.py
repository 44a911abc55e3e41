"""`ld --wrap` replaces nothing, without a word, where nothing refers to a symbol: a build looks first."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from lftool_llamacpp.native_runtime import lost_wraps, symbols
from lftool_llamacpp.toolchain import find_toolchain


def test_objects_refer_to_symbols_and_define_them(tmp_path):
    compiler = shutil.which("g++") or pytest.skip("there is no g++ here")
    (tmp_path / "a.cpp").write_text(
        "int theirs(int); static int own() { return 1; } int caller() { return theirs(own()); }\n"
    )
    subprocess.run([compiler, "-c", tmp_path / "a.cpp", "-o", tmp_path / "a.o"], check=True)
    subprocess.run(["ar", "rc", tmp_path / "a.a", tmp_path / "a.o"], check=True)
    nm = find_toolchain().nm
    for file in (str(tmp_path / "a.o"), str(tmp_path / "a.a")):
        assert symbols(nm, [file], undefined=True) == {"_Z6theirsi"}
        assert symbols(nm, [file], undefined=False) == {"_Z6callerv"}


@pytest.mark.parametrize(
    ("called", "ours", "lost"),
    [
        ({"f", "g"}, {"__wrap_f", "__wrap_g"}, []),
        ({"g"}, {"__wrap_f", "__wrap_g"}, ["f"]),
        ({"f", "g"}, {"__wrap_g"}, ["f"]),
    ],
    ids=["all are there", "nothing calls one", "one of ours is missing"],
)
def test_a_wrap_that_would_do_nothing_is_named(called, ours, lost):
    assert lost_wraps(["f", "g"], called, ours) == lost
