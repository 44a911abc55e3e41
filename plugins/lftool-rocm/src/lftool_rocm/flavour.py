"""How llama.cpp is built for AMD GPUs. Source: llama.cpp's docs/build.md, "HIP"."""

from __future__ import annotations

from lftool_llamacpp.flavours import Flavour

ROCM = Flavour(
    backend="rocm",
    options=(
        "-DGGML_HIP=ON",
        "-DGPU_TARGETS=gfx906;gfx908;gfx90a;gfx942;gfx1030;gfx1100;gfx1101;gfx1102;gfx1200;gfx1201",
    ),
    libraries=("ggml/src/ggml-hip/libggml-hip.a",),
    link=("-L/opt/rocm/lib", "-lamdhip64", "-lhipblas", "-lrocblas"),
    static=False,
    compiler=("hipcc", "--version"),
    levels=("x86-64-v3",),
)
