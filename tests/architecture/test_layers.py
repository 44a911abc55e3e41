"""The house stands: imports point down, heavy modules load late, nothing goes in circles."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = {
    "cattrs",
    "cryptography",
    "jinja2",
    "llama_cpp",
    "lftool_llamacpp",
    "numpy",
    "pluggy",
    "rich",
    "tomlkit",
    "zstandard",
}
LOADED = """\
import json, sys
from lftool.cli.entry import main
sys.argv = ["lftool", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
sys.stderr.write("\\n" + json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded_by(*arguments: str) -> set[str]:
    """Top-level modules in memory after a command."""
    code = LOADED.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def sources(repository: Path) -> list[Path]:
    return sorted([*(repository / "toolchain").rglob("*.py"), *repository.glob("plugins/*/src/**/*.py")])


def test_every_import_contract_holds(repository):
    lint_imports = Path(sys.executable).parent / "lint-imports"

    done = subprocess.run([lint_imports, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "0 broken." in done.stdout


def test_version_loads_nothing_heavy():
    assert loaded_by("--version") & (HEAVY | {"attrs", "attr", "click"}) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_loads_nothing_heavy(arguments):
    assert loaded_by(*arguments) & HEAVY == set()


@pytest.mark.parametrize("command", ["build", "lock", "verify", "inspect", "run", "cache", "keygen", "init"])
def test_the_help_of_a_command_loads_nothing_heavy(command):
    assert loaded_by(command, "--help") & HEAVY == set()


def test_a_build_never_loads_the_model_library_into_its_own_process(plain_project):
    tool = "import sys; from lftool.cli.main import run; status = run({!r}); sys.exit(status or 'llama_cpp' in sys.modules)"
    plain_project.write_recipe(plain_project.recipe.read_text() + 'quantize = "F32"\n')

    for command in ("lock", "build"):
        done = subprocess.run(
            [sys.executable, "-c", tool.format([command])],
            cwd=plain_project.root,
            env=plain_project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def module_of(path: Path, repository: Path) -> str:
    """Dotted name of a module."""
    parts = path.relative_to(repository).with_suffix("").parts
    parts = parts[1:] if parts[0] == "toolchain" else parts[3:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, repository: Path) -> Iterator[tuple[str, str]]:
    """Module and name of what a module takes from others of the house, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lftool") and not node.level:
            for item in node.names:
                yield node.module, item.name
        if isinstance(node, ast.Import):
            for item in node.names:
                if item.name.startswith("lftool"):
                    yield item.name, ""


def test_no_module_imports_itself_through_others(repository):
    """Also imports for type checkers, and late ones: two modules that name one another are one idea in two files."""
    found = sources(repository)
    modules = {module_of(path, repository) for path in found}
    graph = {
        module_of(path, repository): {
            name if (name := f"{module}.{item}") in modules else module for module, item in imports(path, repository)
        }
        for path in found
    }
    assert [circle for circle in components(graph) if len(circle) > 1] == []


def components(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components, each sorted."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, left = set(), [start]
        while left:
            for name in graph.get(left.pop(), set()) - seen:
                seen.add(name)
                left.append(name)
        reach[start] = seen
    found = {tuple(sorted({other for other in reach[name] if name in reach[other]} | {name})) for name in graph}
    return [list(component) for component in sorted(found)]


# A command's module below cli and its use case below ops say two halves of one thing. Others need a reason.
SAME_NAME = {
    "fetch": "the stage that the command is about",
    "gguf": "public: lftool.api.gguf",
    "lock": "the lock, and the command that makes it",
}


def test_a_name_of_a_module_says_one_thing(repository):
    """Two modules of a name are a command's two halves, or stand above with a reason."""
    places: dict[str, list[str]] = {}
    for path in (repository / "toolchain" / "lftool").rglob("*.py"):
        if path.stem not in {"__init__", "__main__"}:
            places.setdefault(path.stem, []).append(path.relative_to(repository / "toolchain" / "lftool").parts[0])
    twice = {name: sorted(rooms) for name, rooms in places.items() if len(rooms) > 1}

    assert {name: rooms for name, rooms in twice.items() if rooms != ["cli", "ops"] and name not in SAME_NAME} == {}
    assert set(SAME_NAME) <= set(twice)


def test_no_module_takes_a_private_name_of_another(repository):
    private = [
        f"{path.relative_to(repository)}: {module}.{name}"
        for path in sources(repository)
        for module, name in imports(path, repository)
        if name.startswith("_") and not name.startswith("__")
    ]

    assert private == []


def test_every_module_says_what_it_is_for(repository):
    silent = [path for path in sources(repository) if not path.read_text().startswith(('"""', "# "))]

    assert silent == []


def test_generated_files_are_fresh(repository):
    done = subprocess.run(
        [sys.executable, "tools/generate.py", "--check"], cwd=repository, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
