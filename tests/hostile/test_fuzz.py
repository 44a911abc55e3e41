"""A little of `make fuzz`: what parses refuses with a LftoolError what is nearly right, and the harness finds what does not."""

from __future__ import annotations

import pytest
from tests.fuzzing import Target, fuzz, targets

NAMES = (
    "bundle",
    "gguf",
    "safetensors",
    "lock",
    "recipe",
    "manifest",
    "policy",
    "envelope",
    "statement",
    "front-matter",
)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_nearly_right_is_read_or_refused(known, name):
    found = fuzz(name, known[name], cases=150)
    assert found.failures == []
    assert found.cases == 150


def test_every_target_is_here(known):
    assert tuple(known) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_are_accepted(known, name):
    for seed in known[name].seeds:
        assert known[name].read(seed) is None or name != "front-matter"


def test_an_error_of_another_kind_is_found():
    def read(data: bytes) -> None:
        raise KeyError(len(data))

    found = fuzz("x", Target((b"abc",), read), cases=50)
    assert (found.cases, found.refused, len(found.failures)) == (10, 0, 10)
