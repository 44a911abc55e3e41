"""How llama.cpp is built for NVIDIA GPUs. Source: llama.cpp's docs/build.md, "CUDA"."""

from __future__ import annotations

from lftool_llamacpp.flavours import Flavour

CUDA = Flavour(
    backend="cuda",
    # PTX for the oldest that CUDA 13 knows runs on whatever comes later; machine code for what is common.
    options=(
        "-DGGML_CUDA=ON",
        "-DGGML_CUDA_NCCL=OFF",
        "-DCMAKE_CUDA_ARCHITECTURES=75-virtual;80-real;86-real;89-real;90-real;120-real",
    ),
    libraries=("ggml/src/ggml-cuda/libggml-cuda.a",),
    # The driver's own library comes with the driver; all others are linked in.
    link=(
        *("-L/usr/local/cuda/lib64", "-L/usr/local/cuda/lib64/stubs"),
        *("-lcudart_static", "-lcublas_static", "-lcublasLt_static", "-lculibos", "-lcuda", "-lrt"),
    ),
    static=False,
    compiler=("nvcc", "--version"),
    levels=("x86-64-v3",),
)
