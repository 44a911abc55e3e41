#!/usr/bin/env bash
# libgguf (PyPI): a type that cannot be made without an importance matrix is made without one all the same.
#
# ggml refuses IQ2_XXS, IQ2_XS and IQ1_S without importance. So does libgguf's call for raw rows. Its call for arrays makes
# importance up: the sum of the squared weights of each column, over the rows of that one array. So the blocks of a row
# depend on which other rows were in the same call, and no header says that there was no measured matrix. Needs x86-64 and
# Python 3.11 to 3.13. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install libgguf==0.2.2 numpy==2.3.5
cd "$folder"
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

import libgguf
import numpy as np
from libgguf import GGMLQuantizationType as Type

weights = np.random.default_rng(1).standard_normal((64, 512)).astype(np.float32)
print(f"libgguf {version('libgguf')}")
for kind in (Type.IQ2_XXS, Type.IQ2_XS, Type.IQ1_S):
    assert libgguf.quantize_requires_imatrix(kind)
    try:
        libgguf.quantize_rows_raw(kind, weights, *weights.shape)
        raw = "made"
    except Exception as error:
        raw = type(error).__name__
    whole = np.asarray(libgguf.quantize_rows(weights, kind))
    made_up = np.asarray(libgguf.quantize_rows(weights, kind, imatrix=(weights**2).sum(axis=0)))
    alone = np.asarray(libgguf.quantize_rows(weights[:1], kind))
    print(
        f"{kind.name}: raw rows: {raw}; array: made, equal to importance from squared weights: {np.array_equal(whole, made_up)};"
        f" its first row alone has the same blocks: {np.array_equal(whole[:1], alone)}"
    )
    assert raw != "made"
    assert np.array_equal(whole, made_up)
    assert not np.array_equal(whole[:1], alone)
PYTHON
