"""A model that needs more memory than there is: said before it is loaded, with what takes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lftool.api import ModelSize
from lftool.ops.run.memory import memory_here, memory_limit, shortage

if TYPE_CHECKING:
    from pathlib import Path

GB = 10**9


def test_a_model_that_fits_is_not_mentioned():
    assert shortage(ModelSize(weights=GB, cache=(1000,), context=1000), GB + 10**6) == ""


SLOW = "the limit here is 2.0 GB. The model may fail or be very slow"
SHORT = {
    "weights": (
        ModelSize(weights=3 * GB),
        f"needs 3.0 GB of memory: weights 3.0 GB; {SLOW}: use smaller weights",
    ),
    "context": (
        ModelSize(weights=GB, cache=(GB // 1000, GB // 1000), context=1000),
        f"needs 3.0 GB of memory: weights 1.0 GB, a context of 1000 tokens 2.0 GB; {SLOW}: give a smaller --ctx, or use smaller weights",
    ),
}


@pytest.mark.parametrize(("size", "told"), SHORT.values(), ids=SHORT.keys())
def test_what_takes_the_memory_is_told(size, told):
    assert shortage(size, 2 * GB) == told


@pytest.mark.parametrize(
    ("limits", "own", "least"),
    [
        ({"": "max"}, "0::/", None),
        ({"": "5000"}, "0::/", 5000),
        ({"a": "max", "a/b": "7000"}, "0::/a/b", 7000),
        ({"a": "3000", "a/b": "7000"}, "0::/a/b", 3000),
        ({"a": "3000"}, "0::/a/none", 3000),
        ({"": "5000"}, "1:cpu:/x", None),
        ({"": "5000"}, "0::/../../x", None),
    ],
)
def test_the_least_limit_of_the_control_groups_counts(tmp_path: Path, limits, own, least):
    for name, text in limits.items():
        (tmp_path / "cgroup" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name / "memory.max").write_text(f"{text}\n")
    (tmp_path / "own").write_text(f"{own}\n")
    assert memory_limit(tmp_path / "cgroup", tmp_path / "own") == least


def test_without_control_groups_there_is_no_limit(tmp_path: Path):
    assert memory_limit(tmp_path, tmp_path / "none") is None
    assert memory_here() > 0


@pytest.mark.slow
def test_run_says_it_before_it_starts(plain_project):
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    (bundle,) = (plain_project.root / "dist").iterdir()
    done = plain_project.spawn("run", bundle, "-p", "Hi", "--ctx", str(2**31 - 1))
    assert re.search(r": needs \d+\.\d GB of memory: weights 0.0 GB, a context of 2147483647 tokens ", done.err), (
        done.err
    )
