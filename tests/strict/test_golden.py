"""Digests of blocks that every machine must make: `python tests/strict/test_golden.py` writes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tests.strict.conftest import FAMILIES, MADE, Calls, importance

GOLDEN = Path(__file__).with_name("golden.json")


def golden_weights() -> np.ndarray:
    return np.concatenate([make(4) for name, make in FAMILIES.items() if name != "subnormal"])


def _digest(blocks: bytes | None) -> str | None:
    return hashlib.sha256(blocks).hexdigest() if blocks is not None else None


def _key(name: str, matters: bool) -> str:
    return f"{name}+imatrix" if matters else name


def test_the_weights_are_the_same_on_every_machine():
    found = {"weights": _digest(golden_weights().tobytes()), "importance": _digest(importance().tobytes())}
    assert found == {key: json.loads(GOLDEN.read_text())[key] for key in found}


@pytest.mark.parametrize(("name", "matters"), MADE)
def test_blocks_have_the_golden_digest(calls, name, matters):
    blocks = calls.quantised(name, golden_weights(), importance() if matters else None)
    assert _digest(blocks) == json.loads(GOLDEN.read_text())[_key(name, matters)]


@pytest.mark.parametrize(("name", "matters"), MADE)
def test_golden_digest_is_that_of_ggml(ggml, name, matters):
    blocks = ggml(name, golden_weights(), importance() if matters else None)
    assert _digest(blocks) == json.loads(GOLDEN.read_text())[_key(name, matters)]


if __name__ == "__main__":
    calls = Calls()
    found = {"weights": _digest(golden_weights().tobytes()), "importance": _digest(importance().tobytes())}
    for name, matters in MADE:
        found[_key(name, matters)] = _digest(calls.quantised(name, golden_weights(), importance() if matters else None))
    GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
