"""Whether an exception can be thrown: asked of the functions on the stack, and held against what the language says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import lftool_llamacpp

SOURCES = Path(lftool_llamacpp.__file__).parent / "native"
PROGRAM = r"""
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "throwing.h"

bool plain() {
    std::string text = "that has a destructor, and memory";
    return lftool::can_throw() && !text.empty();
}
bool promised() noexcept {
    std::string text = "cleaned up on the way";
    return plain() && !text.empty();
}
__attribute__((always_inline)) inline bool promised_inline(const std::string & text) noexcept {
    return lftool::can_throw() && !(text + "!").empty();
}
bool around(const std::string & text) {
    std::string more = text + "?";
    return promised_inline(more);
}
struct Asks {
    bool * answer;
    ~Asks() { *answer = lftool::can_throw(); }
};

int main() {
    bool destructor = true, shared = true, unwinding = true;
    try {
        printf("plain %d\n", plain());
        printf("promised %d\n", promised());
        printf("promised inline %d\n", around("text"));
        { Asks asks{ &destructor }; }
        printf("destructor %d\n", destructor);
        std::make_shared<Asks>(Asks{ &shared }).reset();
        printf("shared %d\n", shared);
        const std::function<bool()> held = plain;
        printf("function %d\n", held());
        try {
            throw 1;
        } catch (int) {
            printf("in a handler %d\n", plain());
        }
        try {
            printf("under another's handler %d\n", plain());
        } catch (int) {
        }
        try {
            Asks asks{ &unwinding };
            throw 1;
        } catch (int) {
        }
        printf("unwinding %d\n", unwinding);
    } catch (const std::exception &) {
    }
    printf("without a handler %d\n", lftool::can_throw());
}
"""
EXPECTED = {
    "plain": True,
    "promised": False,
    "promised inline": False,
    "destructor": False,
    "shared": False,
    "function": True,
    "in a handler": True,
    "under another's handler": True,
    "unwinding": False,
    "without a handler": False,
}


@pytest.mark.slow_cases(r"(-O2|-O3)\]")
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3"])
@pytest.mark.parametrize("linked", ["-static", "-pie"])
def test_what_can_be_thrown_is_what_would_be_caught(tmp_path, level, linked):
    compiler = shutil.which("g++") or pytest.skip("there is no g++ here")
    (tmp_path / "main.cpp").write_text(PROGRAM)
    command = [
        compiler,
        "-std=c++17",
        "-fPIE",
        level,
        linked,
        f"-I{SOURCES}",
        tmp_path / "main.cpp",
        SOURCES / "throwing.cpp",
    ]
    subprocess.run([*command, "-o", tmp_path / "program"], check=True)

    done = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=True)

    said = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert {name: answer == "1" for name, answer in said.items()} == EXPECTED
