"""What `lftool lock` says: what moved, in the words of the recipe."""

from __future__ import annotations

from typing import Any

import pytest

from lftool.ops.lock_summary import summary

A, B = "a" * 64, "b" * 64


def files(*digests: str) -> list[dict[str, Any]]:
    return [{"path": f"{at}.bin", "size": 500_000, "sha256": digest} for at, digest in enumerate(digests)]


def source(**changes: Any) -> dict[str, Any]:
    return {"uri": "hf://org/repo", "revision": "1" * 40, "files": files(A, A, A, A, A), **changes}


def target(uses: str, *, quantize: str = A, pack: str = A, **more: str) -> dict[str, Any]:
    return {"quantize": {"uses": uses, "action": quantize, **more}, "pack": {"action": pack}}


CHANGES = {
    "a first lock": (
        None,
        {
            "recipe": {"fields": {"run.context": 64}},
            "sources": {"base": source()},
            "plugins": {"lftool-strict": {"version": "1.0", "sha256": A}},
            "tools": {"ggml-q/1": {"providers": {"strict": "1.0"}, "fingerprints": {"Q8_0": A}}},
            "targets": {"q8": target("Q8_0"), "plain": {"pack": {"action": A}}},
        },
        [
            "   source  base: added, hf://org/repo, 5 files, 2.5 MB",
            "   plugin  lftool-strict: added, 1.0",
            "     tool  ggml-q/1: added, strict 1.0",
            "   target  plain: added",
            "   target  q8: added, Q8_0",
        ],
    ),
    "fields of the recipe come first": (
        {"recipe": {"fields": {"run.context": 64}}, "targets": {"a": target("Q8_0"), "b": target("Q8_0")}},
        {
            "recipe": {"fields": {"run.context": 65}},
            "targets": {"a": target("Q8_0", pack=B), "b": target("Q8_0", pack=B)},
        },
        ["   recipe  run.context: 64 → 65", "   target  a, b: packed anew"],
    ),
    "a source that moved": (
        {"sources": {"base": source()}},
        {"sources": {"base": source(revision="2" * 40, files=files(B, B, B, B, B))}},
        ["   source  base: 1111111111111111111 → 2222222222222222222; changed: 0.bin, 1.bin, 2.bin and 2 more"],
    ),
    "another source": (
        {"sources": {"base": source()}},
        {"sources": {"base": source(uri="hf://org/other")}},
        ["   source  base: hf://org/repo → hf://org/other"],
    ),
    "a source less": ({"sources": {"base": source()}}, {"sources": {}}, ["   source  base: removed"]),
    "a newer plugin": (
        {"plugins": {"p": {"version": "1", "sha256": A}}},
        {"plugins": {"p": {"version": "2", "sha256": B}}},
        ["   plugin  p: 1 → 2"],
    ),
    "other code of a plugin": (
        {"plugins": {"p": {"version": "1", "sha256": A}}},
        {"plugins": {"p": {"version": "1", "sha256": B}}},
        ["   plugin  p: 1, other code"],
    ),
    "a plugin in the making": (
        {"plugins": {"p": {"version": "1", "sha256": A}}},
        {"plugins": {"p": {"version": "1", "editable": True}}},
        ["   plugin  p: editable"],
    ),
    "another file type": (
        {
            "tools": {"t": {"providers": {"strict": "1"}, "fingerprints": {"Q8_0": A}}},
            "targets": {"q": target("Q8_0")},
        },
        {
            "tools": {"t": {"providers": {"strict": "1"}, "fingerprints": {"Q6_K": A}}},
            "targets": {"q": target("Q6_K", quantize=B)},
        },
        ["     tool  t: now Q6_K; no longer Q8_0", "   target  q: Q8_0 → Q6_K"],
    ),
    "other weights": (
        {"convert": {"weights": {"action": A}}, "targets": {"q": target("Q8_0")}},
        {"convert": {"weights": {"action": B}}, "targets": {"q": target("Q8_0", quantize=B)}},
        ["  convert  weights: converted anew", "   target  q: quantised anew"],
    ),
    "a newer tool": (
        {"tools": {"t": {"providers": {"x": "1"}, "fingerprints": {"f16": A}}}},
        {"tools": {"t": {"providers": {"x": "2"}, "fingerprints": {"f16": A}}}},
        ["     tool  t: x 1 → x 2"],
    ),
    "a tool that makes other bits": (
        {"tools": {"t": {"providers": {"x": "1"}, "fingerprints": {"f16": A}}}},
        {"tools": {"t": {"providers": {"x": "1"}, "fingerprints": {"f16": B}}}},
        ["     tool  t: other bits"],
    ),
    "rules that choose types": (
        {"targets": {"q": target("Q8_0")}},
        {"targets": {"q": target("Q8_0", mixture="ggml-mix/1")}},
        ["   target  q: types by ggml-mix/1"],
    ),
    "nothing": ({"sources": {"base": source()}}, {"sources": {"base": source()}}, []),
}


@pytest.mark.parametrize(("old", "new", "told"), CHANGES.values(), ids=CHANGES.keys())
def test_what_moved_is_told_without_digests(old, new, told):
    assert list(summary(old, new)) == told
