"""Front matter of a model card, before the conversion scripts load it: bounded in what it means, not only in bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.api import InputWarning
from lftool_llamacpp.front_matter import MOST_BYTES, MOST_CARD_BYTES, MOST_NODES, expanded_nodes, problem_of
from lftool_llamacpp.model_files import lay_out

# Ten values by one name, five times over: a hundred thousand values, over the budget and harmless to everybody.
ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 5)
)
MERGES = "m0: &m0 {a: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 5))
MANY = f"its front matter expands to more than {MOST_NODES} values"
UNREADABLE = "its front matter cannot be read as YAML"
CARDS = {
    "no front matter": (b"# A model\n", None),
    "empty": (b"", None),
    "a card": (b"---\nlicense: mit\ntags:\n- no\n- gguf\n---\n# A model\n", None),
    "aliases that are few": (b"---\na: &x [1, 2]\nb: *x\n---\n", None),
    "a fence that is none": (b" ---\n" + ALIASES.encode() + b"---\n", None),
    "aliases": (b"---\n" + ALIASES.encode() + b"---\n", MANY),
    "aliases behind a fence that is none": (
        b"---\nx: 1\n--- \n" + ALIASES.encode(),
        f"{UNREADABLE}: but found another document in line 3",
    ),
    "merges": (b"---\n" + MERGES.encode() + b"---\n", MANY),
    "it holds itself": (b"---\na: &a [*a]\n---\n", MANY),
    "no end": (b"---\n" + ALIASES.encode(), MANY),
    "many values": (b"---\n[" + b"1," * (MOST_NODES + 1) + b"]\n---\n", MANY),
    "large": (b"---\na: " + b"x" * MOST_BYTES + b"\n---\n", f"its front matter has more than {MOST_BYTES} characters"),
    "a large card": (b"#" * (MOST_CARD_BYTES + 1), f"it has more than {MOST_CARD_BYTES} bytes"),
    "not UTF-8": (b"---\na: \xff\n---\n", "byte 0xff in line 2 is not UTF-8; the file may be Latin-1 or Windows-1252"),
    "not YAML": (b"---\na: [\n---\n", f"{UNREADABLE}: expected the node content, but found '<stream end>' in line 3"),
    "deep": (b"---\n" + b"[" * 5000 + b"\n---\n", UNREADABLE),
    "a tag of code": (
        b"---\na: !!python/object/apply:os.system [x]\n---\n",
        f"{UNREADABLE}: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system' in line 2",
    ),
    "a key that is a list": (b"---\n? [1]\n: 2\n---\n", f"{UNREADABLE}: found unhashable key in line 2"),
}


@pytest.mark.parametrize(("card", "expected"), CARDS.values(), ids=CARDS.keys())
def test_why_a_card_is_left_out(tmp_path, card, expected):
    path = tmp_path / "README.md"
    path.write_bytes(card)
    begun = time.monotonic()
    assert problem_of(path) == expected
    assert time.monotonic() - begun < 10


def test_a_card_that_is_left_out_is_not_laid_out_and_is_told(tmp_path):
    (tmp_path / "README.md").write_bytes(CARDS["aliases"][0])
    (tmp_path / "config.json").write_text("{}")
    paths = {name: tmp_path / name for name in ("README.md", "config.json")}
    with pytest.warns(InputWarning, match=f"README.md is left out: {MANY}"):
        lay_out(tmp_path / "out", paths)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def _written_out(value) -> int:
    if isinstance(value, dict):
        return 1 + sum(_written_out(key) + _written_out(item) for key, item in value.items())
    return 1 + sum(map(_written_out, value)) if isinstance(value, list) else 1


@settings(max_examples=60)
@given(
    st.recursive(
        st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
        max_leaves=20,
    )
)
def test_the_count_is_that_of_the_document_written_out(value):
    root = yaml.compose(yaml.safe_dump([value, value]), Loader=yaml.SafeLoader)
    assert expanded_nodes(root) == _written_out([value, value])


def test_nothing_of_the_outside_is_read(tmp_path):
    assert problem_of(Path(__file__)) is None
