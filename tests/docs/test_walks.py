"""The walks of the architecture page: the modules exist, and one of those before calls each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"
TOOLCHAIN = Path(__file__).parents[2] / "toolchain" / "lftool"
_LINE = re.compile(r"(?m)^\d+\. `([^`]+\.py)` (.+)$")


def walks() -> dict[str, list[str]]:
    text = PAGE.read_text().partition("## Walks")[2].partition("\n## ")[0]
    parts = text.split("\n### ")[1:]
    return {part.partition("\n")[0]: [path for path, _ in _LINE.findall(part)] for part in parts}


def calls(path: str) -> set[str]:
    """Modules out of which a module calls what it imports, or what that makes."""
    tree = ast.parse((TOOLCHAIN / path).read_text())
    origin = {
        item.asname or item.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for item in node.names
    }
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return {origin[name].removeprefix("lftool.").replace(".", "/") + ".py" for name in called & origin.keys()}


def test_the_page_has_the_walks_that_a_newcomer_needs():
    assert list(walks()) == [
        "From a recipe to a bundle",
        "From a recipe to a lock",
        "From a bundle to a verdict",
        "From a bundle's path to a running model",
    ]


@pytest.mark.parametrize("name", walks())
def test_each_module_of_a_walk_is_called_by_one_before_it(name):
    modules = walks()[name]
    assert 5 <= len(modules) <= 6
    for number, module in enumerate(modules[1:], start=1):
        assert any(module in calls(before) for before in modules[:number]), module
