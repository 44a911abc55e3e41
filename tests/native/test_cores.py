"""How many threads the native runtime starts: as many as cores that it may keep busy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.native.conftest import PROMPT, SANITIZED, start
from tests.native.test_serving import KINDS, serving

import lftool_llamacpp

SOURCES = Path(lftool_llamacpp.__file__).parent / "native"
HERE = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """Return the number for a tree of files, as native/cores.cpp finds it."""
    folder = tmp_path_factory.mktemp("cores")
    (folder / "main.cpp").write_text(
        '#include "cores.h"\n#include <cstdio>\nint main(int, char ** argv) { printf("%d", lftool::usable_cores(argv[1])); }\n'
    )
    compiler = shutil.which("c++") or pytest.skip("no C++ compiler")
    command = [compiler, "-std=c++17", *SANITIZED, f"-I{SOURCES}", str(folder / "main.cpp"), str(SOURCES / "cores.cpp")]
    subprocess.run([*command, "-o", str(folder / "cores")], check=True)

    def run(files: dict[str, str], root: Path, *before: str) -> int:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return int(subprocess.run([*before, folder / "cores", root], check=True, capture_output=True).stdout)

    return run


CGROUP = "proc/self/cgroup"
TREES = {
    "no control groups": ({}, HERE),
    "no quota": ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, HERE),
    "one core": ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
    "half a core": ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
    "more than there are": ({CGROUP: "0::/\n", "sys/fs/cgroup/cpu.max": "99900000 100000\n"}, HERE),
    "of the group around it": (
        {
            CGROUP: "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "100000 100000\n",
        },
        1,
    ),
    "of a container that sees the path outside": (
        {CGROUP: "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"},
        1,
    ),
    "version 1": (
        {
            CGROUP: "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        },
        1,
    ),
    "version 1 without a quota": (
        {
            CGROUP: "4:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        HERE,
    ),
    "garbage": ({CGROUP: "::::\n\nx", "sys/fs/cgroup/cpu.max": "\xff 0\n"}, HERE),
}


@pytest.mark.parametrize(("files", "expected"), TREES.values(), ids=TREES.keys())
def test_the_quota_of_control_groups_counts(count, tmp_path, files, expected):
    assert count(files, tmp_path) == expected


def test_processors_that_it_may_not_run_on_do_not_count(count, tmp_path):
    taskset = shutil.which("taskset") or pytest.skip("no taskset here")
    first = min(os.sched_getaffinity(0))
    assert count({}, tmp_path, taskset, "-c", str(first)) == 1


@pytest.mark.skipif(HERE < 2, reason="needs two cores")
def test_a_bundle_that_may_use_one_core_of_several_starts_one_thread(story, native, tmp_path):
    """llama.cpp would count the machine's, and its threads spin: an answer took 600 times as long."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with serving(KINDS[0], story, native, "--", "-lv", "3", log=tmp_path / "log"):
            pass
    finally:
        os.sched_setaffinity(0, before)
    assert re.findall(r"n_threads = (\d+)", (tmp_path / "log").read_text()) == ["1"]


def test_more_threads_than_llama_cpp_takes_are_refused(native):
    done = start(native, "-p", PROMPT, "--threads", "513")
    assert (done.returncode, done.stderr) == (2, f"{native.name}: --threads: llama.cpp takes no more than 512\n")
