#!/usr/bin/env bash
# ggml's quantisers: which bytes a file gets depends on the C dialect that ggml-quants.c was compiled with, not on its text.
#
# With -march=x86-64-v3, GCC in its GNU dialect fuses products and sums across statements, in ISO C it fuses none, and Clang
# fuses within an expression only. One line of the search for the scales of Q5_K and Q2_K divides by the largest weight:
# with the product fused, candidates that were ties are no longer, and about a quarter of all blocks of Q5_K come out
# otherwise. Q4_1 is the same in all. Needs GCC on x86-64 with AVX2 and FMA; Clang comes with the package ziglang. Fails if
# that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install scikit-build-core==1.1.2 ziglang==0.17.1 numpy==2.3.5
"${pip[@]}" download --no-deps --no-build-isolation --no-binary :all: -d "$folder" llama-cpp-python==0.3.36
cd "$folder"
tar -xzf llama_cpp_python-0.3.36.tar.gz
tree=llama_cpp_python-0.3.36/vendor/llama.cpp/ggml
cat > rest.c <<'C'
#include <stdlib.h>
void ggml_critical_section_start(void) {}
void ggml_critical_section_end(void) {}
void ggml_backend_tensor_memset(void) { abort(); }
void ggml_backend_tensor_set(void) { abort(); }
int ggml_backend_buffer_get_usage(void) { abort(); }
C
printf '#define GGML_VERSION "x"\n#define GGML_COMMIT "x"\n' > ggml-version.h
common=(-I. -DNDEBUG -fPIC -D_GNU_SOURCE -D_XOPEN_SOURCE=600 -DGGML_SCHED_MAX_COPIES=4 "-I$tree/include" "-I$tree/src")
gcc -std=gnu11 -O1 "${common[@]}" -c "$tree/src/ggml.c" -o ggml.o
gcc -O1 -fPIC -c rest.c -o rest.o
build() {
  local name=$1
  shift
  "$@" -O3 "${common[@]}" -c "$tree/src/ggml-quants.c" -o "$name.o" 2>/dev/null
  gcc -shared -o "$name.so" "$name.o" ggml.o rest.o -lm
}
zig=("$folder/venv/bin/python" -m ziglang cc -target x86_64-linux-gnu -fno-sanitize=all)
build off gcc -std=gnu11 -march=x86-64-v3 -ffp-contract=off
build gnu11 gcc -std=gnu11 -march=x86-64-v3
build c11 gcc -std=c11 -march=x86-64-v3
build clang "${zig[@]}" -std=gnu11 -march=x86_64_v3
"$folder/venv/bin/python" - <<'PYTHON'
import ctypes

import numpy as np

ROWS, COLUMNS = 512, 1024
weights = (np.random.default_rng(1).standard_normal((ROWS, COLUMNS)) * 0.02).astype(np.float32)
KINDS = {"Q4_1": (20, 32), "Q2_K": (84, 256), "Q5_K": (176, 256)}


def blocks(build, kind):
    size, elements = KINDS[kind]
    library = ctypes.CDLL(f"./{build}.so")
    call = library[f"quantize_{kind.replace('Q', 'q')}"]
    call.restype = ctypes.c_size_t
    call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    out = np.zeros((weights.size // elements, size), np.uint8)
    call(weights.ctypes.data, out.ctypes.data, ROWS, COLUMNS, None)
    return out


found = {}
for kind in KINDS:
    plain = blocks("off", kind)
    for build in ("c11", "gnu11", "clang"):
        other = (blocks(build, kind) != plain).any(axis=1)
        found[kind, build] = float(other.mean())
        print(f"llama-cpp-python 0.3.36's ggml, {kind}, {build}: {other.sum()} of {other.size} blocks differ from -ffp-contract=off")
assert all(share == 0 for (kind, build), share in found.items() if build == "c11" or kind == "Q4_1"), found
assert found["Q5_K", "gnu11"] > 0.15, found
assert found["Q2_K", "gnu11"] > 0.15, found
assert 0 < found["Q5_K", "clang"] < 0.05, found
PYTHON
gcc --version | head -n 1
