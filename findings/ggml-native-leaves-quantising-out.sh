#!/usr/bin/env bash
# ggml's build: GGML_NATIVE, which is on by default, does not reach the code that quantises files.
#
# ggml-quants.c is part of the library ggml-base. On x86-64 only ggml-cpu is compiled with -march=native. So two x86-64
# machines with different processors quantise to the same bytes, although the option says that the build is for one
# machine, and whoever sets it to make quantising faster gets nothing. The sources of ggml-cpu get it. Needs cmake, a C++
# compiler and x86-64; only configures, compiles nothing of ggml. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install scikit-build-core==1.1.2 cmake==4.1.2 ninja==1.13.0
"${pip[@]}" download --no-deps --no-build-isolation --no-binary :all: -d "$folder" llama-cpp-python==0.3.36
cd "$folder"
tar -xzf llama_cpp_python-0.3.36.tar.gz
PATH="$folder/venv/bin:$PATH" venv/bin/cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -G Ninja -DGGML_NATIVE=ON \
  -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
  -DCMAKE_EXPORT_COMPILE_COMMANDS=ON > configured 2>&1 || { cat configured; exit 1; }
venv/bin/python - <<'PYTHON'
import json
import re

with open("build/compile_commands.json", encoding="utf-8") as file:
    commands = {item["file"].rpartition("/ggml/src/")[2]: item["command"] for item in json.load(file)}
found = {}
for name in ("ggml-quants.c", "ggml-cpu/quants.c", "ggml-cpu/ggml-cpu.c"):
    found[name] = re.findall(r"-m(?:arch|tune|cpu)=\S+|-mavx\S*|-mfma", commands[name])
    print(f"llama-cpp-python 0.3.36's ggml with GGML_NATIVE=ON: {name} is compiled with {found[name] or 'no option for a processor'}")
assert found == {"ggml-quants.c": [], "ggml-cpu/quants.c": ["-march=native"], "ggml-cpu/ggml-cpu.c": ["-march=native"]}, found
PYTHON
