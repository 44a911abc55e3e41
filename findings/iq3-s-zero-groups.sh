#!/usr/bin/env bash
# llama.cpp's IQ3_S: where 32 weights in a row are all zero, the weights behind them in the block of 256 come back wrong.
#
# A block has eight groups of 32 weights. quantize_row_iq3_s_impl does not move on in its output behind a group of zeros, so
# grid points and signs of the groups behind it are stored 32 weights too early, and those of the last one are missing. Their
# scales and highest bits are stored where they belong. Rows of zeros are common: padded vocabularies, pruned heads. With
# 1e-6 in place of the zeros nothing goes wrong. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cat > "$folder/look.py" <<'PYTHON'
import ctypes
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

(path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
quantize = ctypes.CDLL(str(path)).ggml_quantize_chunk  # initialises the tables of the type itself
quantize.restype = ctypes.c_size_t
quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
IQ3_S = gguf.GGMLQuantizationType.IQ3_S


def errors(weights):
    """Return the relative error of each group after quantising and back."""
    blocks = np.zeros(110, dtype=np.uint8)
    assert quantize(int(IQ3_S), weights.ctypes.data, blocks.ctypes.data, 0, 1, 256, None) == 110
    back = gguf.dequantize(blocks.reshape(1, 110), IQ3_S).reshape(8, 32)
    groups = weights.reshape(8, 32)
    return [float(np.linalg.norm(b - g) / np.linalg.norm(g)) if g.any() else 0.0 for b, g in zip(back, groups)]


weights = (np.sin(np.arange(256, dtype=np.float32) * 1.7) * 0.02).astype(np.float32)
found = {}
for name, third in (("zeros", 0.0), ("1e-6", 1e-6)):
    weights[64:96] = third
    found[name] = errors(weights)
print("xllamacpp", version("xllamacpp"), "gguf", version("gguf"), "numpy", version("numpy"))
for name, each in found.items():
    print(f"third group {name}: relative errors of the groups {[round(error, 2) for error in each]}")
before, behind = found["zeros"][:2], found["zeros"][3:]
assert max(before) < 0.2 < 0.5 < min(behind), found["zeros"]
assert max(found["1e-6"][3:]) < 0.2, found["1e-6"]
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
