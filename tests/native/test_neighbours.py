"""How many threads find a free core beside whoever else is busy, as native/neighbours.cpp counts them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.native.conftest import SANITIZED

import lftool_llamacpp

SOURCES = Path(lftool_llamacpp.__file__).parent / "native"
HERE = len(os.sched_getaffinity(0))
LLAMA_H = """\
#include <cstdint>
struct llama_context;
struct llama_batch { int unused; };
struct llama_batch_ext;
enum llama_process_type { LLAMA_PROCESS_TYPE_ENCODE, LLAMA_PROCESS_TYPE_DECODE };
typedef struct ggml_threadpool * ggml_threadpool_t;
extern "C" void llama_detach_threadpool(llama_context *);
extern "C" int32_t llama_n_threads(llama_context *);
extern "C" void llama_set_n_threads(llama_context *, int32_t, int32_t);
"""
MAIN = """\
#include "neighbours.h"
#include "llama.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
extern "C" int32_t llama_n_threads(llama_context *) { return 0; }
extern "C" void llama_set_n_threads(llama_context *, int32_t, int32_t) {}
extern "C" void llama_detach_threadpool(llama_context *) {}
extern "C" void __real_llama_attach_threadpool(llama_context *, ggml_threadpool_t, ggml_threadpool_t) {}
extern "C" int32_t __real_llama_decode(llama_context *, llama_batch) { return 0; }
extern "C" int32_t __real_llama_encode(llama_context *, llama_batch) { return 0; }
extern "C" int32_t __real_llama_process(llama_context *, llama_process_type, llama_batch_ext *) { return 0; }
int main(int, char ** argv) {
    if (!strcmp(argv[1], "beside")) {  // cores, seconds, work of all, work of this process, most
        lftool::Work before, after;
        before.cores = after.cores = atoi(argv[2]);
        before.at = before.all = before.own = 100;
        after.at = 100 + atof(argv[3]); after.all = 100 + atof(argv[4]); after.own = 100 + atof(argv[5]);
        printf("%d", lftool::threads_beside(before, after, atoi(argv[6])));
    } else if (!strcmp(argv[1], "at-once")) {
        printf("%d", lftool::threads_at_once(atoi(argv[2]), atoi(argv[3]), argv[4]));
    } else {
        const lftool::Work work = lftool::work_done(argv[2]);
        printf("%d %.2f", work.cores, work.all);
    }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("neighbours")
    (folder / "llama.h").write_text(LLAMA_H)
    (folder / "main.cpp").write_text(MAIN)
    compiler = shutil.which("c++") or pytest.skip("no C++ compiler")
    command = [
        compiler,
        "-std=c++17",
        *SANITIZED,
        f"-I{folder}",
        f"-I{SOURCES}",
        folder / "main.cpp",
        SOURCES / "neighbours.cpp",
    ]
    subprocess.run([*command, "-o", folder / "program"], check=True)
    return folder / "program"


def said(program: Path, *arguments: object) -> str:
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("cores", "others", "most", "threads"),
    [
        (2, 0.0, 2, 2),
        (2, 0.3, 2, 2),  # a browser that is open, or the kernel's own hundredths
        (2, 0.5, 2, 1),  # one busy process that two threads of ours leave half a core
        (2, 1.0, 2, 1),
        (2, 2.0, 2, 1),
        (8, 0.0, 4, 4),
        (8, 3.0, 4, 4),
        (8, 6.0, 4, 2),
        (8, 9.0, 4, 1),
    ],
)
def test_there_are_as_many_threads_as_cores_are_free(program, cores, others, most, threads):
    seconds, own = 0.25, 0.4
    assert said(program, "beside", cores, seconds, own + others * seconds, own, most) == str(threads)


def test_where_nothing_is_known_all_are_used(program):
    assert said(program, "beside", 0, 0.25, 5, 0, 4) == "4"
    assert said(program, "beside", 4, 0, 5, 0, 4) == "4"


@pytest.mark.parametrize(
    ("text", "threads"),
    [("0.5 0.4 0.3 1/300 42\n", 4), ("9 9 9 3/300 42\n", 2), ("9 9 9 30/300 42\n", 1), ("x", 4), ("", 4)],
)
def test_at_first_it_is_who_runs_now(program, tmp_path, text, threads):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "loadavg").write_text(text)
    assert said(program, "at-once", 4, 4, tmp_path) == str(threads)


def test_only_cores_that_this_process_may_use_are_counted(program, tmp_path):
    (tmp_path / "proc").mkdir()
    lines = ["cpu  900 0 0 0 0 0 0 0 0 0", *(f"cpu{core} 100 20 3 999 50 4 5 7 0 0" for core in range(4000)), "intr 1"]
    (tmp_path / "proc" / "stat").write_text("\n".join(lines) + "\n")
    tick = os.sysconf("SC_CLK_TCK")
    assert said(program, "work", tmp_path) == f"{HERE} {HERE * 132 / tick:.2f}"


@pytest.mark.parametrize("text", ["", "cpu\ncpu0\n", "cpux y z\n", "cpu-1 1 1 1 1 1 1 1\n", "\xff\n"])
def test_garbage_is_nothing_known(program, tmp_path, text):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text(text)
    assert said(program, "work", tmp_path) == "0 0.00"
