"""Flavours of the native runtime for other backends: configured from the pinned sources, up to what their compilers are called with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lftool_cuda.flavour import CUDA
from lftool_llamacpp.flavours import CPU, CPU_UI, level_options, levels
from lftool_llamacpp.native_runtime import _OPTIONS
from lftool_llamacpp.toolchain import find_toolchain
from lftool_rocm.flavour import ROCM

_NAME = re.compile(r"-D([A-Z0-9_]+)=")
OF_CMAKE = ("CMAKE_", "BUILD_SHARED_LIBS", "LLAMA_BUILD_NUMBER", "LLAMA_BUILD_COMMIT", "GPU_TARGETS")


@pytest.mark.slow
@pytest.mark.parametrize("flavour", [CPU, CPU_UI, CUDA, ROCM], ids=["cpu", "cpu with a web page", "cuda", "rocm"])
def test_every_option_is_one_of_the_sources(sources, flavour):
    text = "".join(path.read_text() for path in (sources / "CMakeLists.txt", sources / "ggml" / "CMakeLists.txt"))
    options = [*_OPTIONS, *flavour.options, *(option for level in flavour.levels for option in level_options(level))]
    for option in options:
        name = _NAME.match(option)[1]
        assert name.startswith(OF_CMAKE) or re.search(rf"option\({name}\s", text), name


@pytest.mark.slow
def test_cuda_is_configured_up_to_the_calls_of_its_compiler(sources, tmp_path):
    """Where CUDA's compiler is, but not cuBLAS, which only the linker needs: empty files stand for it."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin:/usr/local/cuda-13.0/bin")
    if nvcc is None:
        pytest.skip("no nvcc here")
    for name in ("cublas", "cublasLt", "cublas_static", "cublasLt_static", "culibos", "cuda"):
        subprocess.run(["ar", "rc", tmp_path / f"lib{name}.a"], check=True)
    (tmp_path / "cublas_v2.h").touch()
    tools = find_toolchain((nvcc, "--version"))
    environment = {
        **os.environ,
        "PATH": f"{Path(nvcc).resolve().parent}:{os.environ['PATH']}",
        "CMAKE_LIBRARY_PATH": str(tmp_path),
        "CMAKE_INCLUDE_PATH": str(tmp_path),
        "GIT_DIR": "/nonexistent",
    }
    build = tmp_path / "build"
    command = [tools.cmake, "-S", sources, "-B", build, "-G", "Unix Makefiles", *_OPTIONS, *CUDA.options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    dry = subprocess.run(
        [tools.make, "-C", build, "-n", "ggml-cuda"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    calls = [line for line in dry.splitlines() if "nvcc" in line and ".cu " in line]
    assert len(calls) > 50
    assert all("arch=compute_75,code=[compute_75]" in call for call in calls)
    assert all("arch=compute_90,code=[sm_90]" in call for call in calls)
    assert (build / "ggml" / "src" / "ggml-cuda").is_dir()
    assert CUDA.libraries == ("ggml/src/ggml-cuda/libggml-cuda.a",)


def test_machines_but_x86_64_have_one_level_without_options():
    assert levels("aarch64") == ("aarch64",)
    assert level_options("aarch64") == ()
    assert levels("x86_64") == ("x86-64-v1", "x86-64-v3", "x86-64-v4")
    assert "-DGGML_AVX2=OFF" in level_options("x86-64-v1")
    assert "-DGGML_AVX512=OFF" in level_options("x86-64-v3")
    assert set(level_options("x86-64-v4")) == {option.replace("=OFF", "=ON") for option in level_options("x86-64-v1")}
