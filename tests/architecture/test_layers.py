"""The house stands: imports point down, heavy modules load late, modules stay small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
MOST_LINES = 400
# A module that grows past this is asked whether it is still one idea. An exception needs a reason.
LONGER = {"toolchain/lftool/builtin/python_runtime/runner.py"}  # one file in every bundle, that needs nothing beside it

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


def test_no_module_is_too_long(repository):
    long = {
        path.relative_to(repository).as_posix()
        for path in sources(repository)
        if len(path.read_text().splitlines()) > MOST_LINES
    }

    assert long == LONGER


def test_every_module_says_what_it_is_for(repository):
    silent = [path for path in sources(repository) if not path.read_text().startswith(('"""', "# "))]

    assert silent == []


def test_generated_files_are_fresh(repository):
    done = subprocess.run(
        [sys.executable, "tools/generate.py", "--check"], cwd=repository, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
