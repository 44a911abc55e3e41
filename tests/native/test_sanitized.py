"""The native runtime's own code: without a warning of the compiler, and with AddressSanitizer and UBSan on bundles that are nearly right."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.native.conftest import SANITIZED

from lftool.testing.plugin import PLAIN_RECIPE
from lftool_llamacpp.native_runtime import _OWN, _SOURCES, own_arguments


@pytest.fixture
def compiler() -> str:
    return shutil.which("g++") or pytest.skip("there is no g++ here")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*_SOURCES, "level"])
def test_it_compiles_without_a_warning(compiler, sources, name):
    defined = [
        '-DLFTOOL_BACKEND="cpu"',
        *(['-DLFTOOL_LEVEL="x86-64-v1"', "-DLFTOOL_HAS_LEVELS"] if name == "level" else []),
    ]
    command = [compiler, "-fsyntax-only", "-O2", "-DNDEBUG", "-Werror", *own_arguments(sources), *defined]
    done = subprocess.run([*command, _OWN / f"{name}.cpp"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bundles_that_are_nearly_right_are_read_or_refused(compiler, sources, plain_project, tmp_path):
    project = plain_project
    project.write_recipe(f'{PLAIN_RECIPE}[targets.started]\nlayout = "llamafile"\n')
    project.run("lock").assert_success()
    project.run("build").assert_success()
    vendor, program = sources / "vendor", tmp_path / "fuzzer"
    own = [Path(__file__).parent / "bundle_fuzzer.cpp", _OWN / "bundle.cpp", _OWN / "zip.cpp"]
    headers = ["-isystem", vendor, "-isystem", vendor / "hash"]
    subprocess.run(
        [
            compiler.replace("g++", "gcc"),
            "-c",
            *SANITIZED,
            *headers,
            vendor / "hash/sha256/sha256.c",
            "-o",
            tmp_path / "sha256.o",
        ],
        check=True,
    )
    subprocess.run(
        [compiler, "-std=c++17", *SANITIZED, *headers, f"-I{_OWN}", *own, tmp_path / "sha256.o", "-o", program],
        check=True,
    )

    done = subprocess.run(
        [program, "2000", *sorted((project.root / "dist").iterdir())], capture_output=True, text=True, check=False
    )

    found = re.fullmatch(r"(\d+) read, (\d+) refused\n", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert found is not None
    assert min(int(found[1]), int(found[2])) > 200
