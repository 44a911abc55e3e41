"""`lftool help`: the pages ship with the package, and every hint that names one names one that is there."""

from __future__ import annotations

import ast
import re

import pytest

from lftool.ops.help import topics


def test_without_a_topic_all_are_listed(project):
    shown = project.run("help").assert_success().out
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")] == [item.name for item in topics()]


@pytest.mark.parametrize("topic", ["recipe", "write-a-plugin", "determinism", "first-bundle"])
def test_a_topic_is_the_page(project, repository, topic):
    (path,) = (repository / "docs").rglob(f"{topic}.md")
    assert project.run("help", topic).assert_success().out == path.read_text()


def test_what_is_no_topic_names_the_nearest(project):
    done = project.run("help", "receipe")
    assert (done.status, "there is no help on 'receipe'; did you mean 'recipe'?" in done.err) == (2, True)


def test_names_of_topics_are_unique(repository):
    names = [item.name for item in topics()]
    assert sorted(names) == sorted(set(names))


def strings(repository):
    """Every string of the code that is no docstring."""
    folders = [repository / "toolchain", *sorted((repository / "plugins").glob("*/src"))]
    for path in [path for folder in folders for path in sorted(folder.rglob("*.py"))]:
        tree = ast.parse(path.read_bytes())
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
                yield path.relative_to(repository), node.value


def test_a_hint_names_a_command_and_no_file_that_a_wheel_lacks(repository):
    assert [(str(path), text) for path, text in strings(repository) if re.search(r"docs/[\w-]+/[\w-]+\.md", text)] == []


def test_every_topic_that_a_hint_names_is_there(repository):
    known = {item.name for item in topics()}
    named = {name for _, text in strings(repository) for name in re.findall(r"lftool help ([a-z][\w-]*)", text)}
    assert named
    assert named - known == set()
