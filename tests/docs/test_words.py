"""Words that read as if translated: not in what a user reads, nor in docstrings. docs/adr and the generated pages follow from the rest."""

from __future__ import annotations

import ast
import re

import pytest

BANNED = {
    "nobody said": "say what is missing",
    "of which": "whose, or two sentences",
    "likewise": "as well, the same, as above",
    "among": "in, of, from, within",
    "holds against": "holds",
    "hold against": "hold",
    "thereof": "of it",
    "therein": "in it",
}
PATTERN = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
FROZEN = "python_runtime/runner.py"  # its bytes are a runtime's


def pages(repository):
    return [
        *sorted((repository / "docs").rglob("*.md")),
        *(
            repository / name
            for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "toolchain/README.md")
        ),
        *sorted((repository / "plugins").glob("*/README.md")),
    ]


def test_no_page_has_them(repository):
    found = [
        f"{path.relative_to(repository)}:{number}: {match[0]}"
        for path in pages(repository)
        if "/adr/" not in str(path)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := PATTERN.search(line))
    ]
    assert found == []


def test_no_string_has_them(repository):
    """Help, errors and docstrings."""
    found = []
    for path in [*(repository / "toolchain").rglob("*.py"), *(repository / "plugins").rglob("*.py")]:
        if str(path).endswith(FROZEN):
            continue
        texts = [
            (node.lineno, node.value)
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        found += [
            f"{path.relative_to(repository)}:{number}: {match[0]}"
            for number, text in texts
            if (match := PATTERN.search(text))
        ]
    assert found == []


@pytest.mark.parametrize("text", ["Nobody said it", "three, two of which", "Likewise.", "one among many"])
def test_the_pattern_finds_them(text):
    assert PATTERN.search(text)
