#!/usr/bin/env bash
# llama.cpp's line editor (common/console.cpp): a slash at the end of what a person types is dropped.
#
# The editor takes / and \ at the end of a line as its own signs: \ goes on with another line, / sends what there is. The
# sign is taken off in both cases, also where another line was not asked for. So an address that ends with a slash reaches
# the model without it, and nothing on the screen says so. Needs a C++17 compiler. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install scikit-build-core==1.1.2
"${pip[@]}" download --no-deps --no-build-isolation --no-binary :all: -d "$folder" llama-cpp-python==0.3.36
cd "$folder"
tar -xzf llama_cpp_python-0.3.36.tar.gz
tree=llama_cpp_python-0.3.36/vendor/llama.cpp
cat > driver.cpp <<'CPP'
#include <cstdio>

#include "console.h"
#include "log.h"

struct common_log * common_log_main() { return nullptr; }  // nothing is logged here
void common_log_flush(struct common_log *) {}

int main() {
    console::init(false, false);
    std::string line;
    console::readline(line, false);
    console::cleanup();
    std::FILE * out = std::fopen("line", "wb");
    std::fwrite(line.data(), 1, line.size(), out);
    std::fclose(out);
}
CPP
g++ -std=c++17 -pthread -I"$tree/common" -I"$tree/include" -I"$tree/ggml/include" -I"$tree/vendor" -o driver driver.cpp "$tree/common/console.cpp"
cat > look.py <<'PYTHON'
import os
import pty
import time

found = {}
for typed in ("see example.org/", "see example.org"):
    child, terminal = pty.fork()
    if child == 0:
        os.execv("./driver", ["./driver"])
    time.sleep(0.5)
    os.write(terminal, typed.encode() + b"\n")
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:  # the other side is closed
            break
    os.waitpid(child, 0)
    with open("line", encoding="utf-8") as file:
        found[typed] = file.read()
    print(f"llama-cpp-python 0.3.36's llama.cpp: typed {typed!r}, read {found[typed]!r}")
assert found == {"see example.org/": "see example.org\n", "see example.org": "see example.org\n"}, found
PYTHON
python3 look.py
