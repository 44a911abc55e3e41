"""Change `bundle/`, `trust/` and `codec/` in small ways, one at a time, and see whether their tests notice.

mutmut makes the changes and runs the tests, in a copy of the checkout. A change that no test notices must stand in
tests/mutation/survivors.toml, with the reason why it may; one that stands there and is noticed, or is gone, must leave it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = ROOT / "tests" / "mutation" / "survivors.toml"
PACKAGES = ("bundle", "trust", "codec")
TESTS = ("tests/bundle", "tests/trust", "tests/codec")
# What takes seconds a time. `make test` runs it.
LEFT_OUT = (
    "tests/bundle/test_every_byte.py",
    "tests/bundle/test_over_4_gib.py",
    "tests/bundle/test_writing.py::test_the_example_has_the_same_sha256_on_every_build",
    "tests/codec/test_schemas.py::test_the_command_prints_the_committed_schema",
)
# tests/mutation/mutant_run.py has the profile: the same examples every time.
SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {only}
also_copy = {copied}
pytest_add_cli_args = ["-m", "not slow", "-p", "no:cacheprovider", "-p", "tests.mutation.mutant_run", "--hypothesis-profile=mutants"]
pytest_add_cli_args_test_selection = {selection}
process_isolation = "forkserver"
type_check_command = [{python}, "-m", "mypy", "--output", "json", "--no-warn-unused-ignores", "-p", "lftool.bundle", "-p", "lftool.trust", "-p", "lftool.codec"]
timeout_multiplier = 2.5
timeout_constant = 8
use_git_change_detection = false
track_dependencies = false
"""
# Of pytest: all passed, none ran. Of mutmut: no test runs the function.
UNNOTICED = {0, 5, 33}
UNTRIED = {None, 2, 35}
# The tests took longer than they may, by SIGXCPU and by the clock: a loop without end, or a machine that was busy.
TOO_LONG = {-24, 36}


@dataclass(frozen=True, order=True)
class Mutant:
    """A change: in which function, the lines that go, the lines that come."""

    function: str
    removed: str
    added: str

    def __str__(self) -> str:
        """Return an entry of survivors.toml."""
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in vars(self).items()]
        return "\n".join(["[[survivor]]", *lines, 'why = ""', ""])


def copy_checkout(workspace: Path) -> None:
    """Copy what git knows or does not ignore; lftool itself to src/, where mutmut looks for it."""
    shutil.rmtree(workspace, ignore_errors=True)
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            target = workspace / re.sub("^toolchain/lftool/", "src/lftool/", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    project = workspace / "pyproject.toml"
    project.write_text(
        project.read_text(encoding="utf-8").replace("toolchain:", "src:").replace('"ignore-without-code",', "")
        + SETTINGS.format(
            only=json.dumps([f"src/lftool/{package}/*" for package in PACKAGES]),
            copied=json.dumps(sorted(path.name for path in workspace.iterdir() if path.name != "src")),
            python=json.dumps(sys.executable),
            selection=json.dumps([*TESTS, *(f"--deselect={test}" for test in LEFT_OUT)]),
        ),
        encoding="utf-8",
    )


def run_mutmut(workspace: Path, names: list[str]) -> None:
    """Make the mutants and test them, as many at a time as there are cores."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 2), *names]
    (workspace / "tmp").mkdir()
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", TMPDIR=str(workspace / "tmp"))
    done = subprocess.run(command, cwd=workspace, env=environment, check=False, stdout=subprocess.PIPE)
    shutil.rmtree(workspace / "tmp", ignore_errors=True)  # of runs that took too long and were ended
    if done.returncode:
        sys.stdout.buffer.write(done.stdout)
        sys.exit(f"mutmut: exit status {done.returncode}")


def statuses(workspace: Path) -> dict[str, int | None]:
    """Return name of mutant to the exit status of its tests, of those that were made."""
    found: dict[str, int | None] = {}
    for path in sorted((workspace / "mutants" / "src").rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def described(workspace: Path, name: str) -> Mutant:
    """Return what a mutant changes."""
    command = [sys.executable, "-m", "mutmut", "show", name]
    shown = subprocess.run(command, cwd=workspace, check=True, capture_output=True, text=True).stdout.splitlines()
    start = next(number for number, line in enumerate(shown) if line.startswith("@@"))
    changed = {sign: [line[1:].strip() for line in shown[start:] if line.startswith(sign)] for sign in "-+"}
    function = re.sub(r"__mutmut_\d+$", "", name).replace("xǁ", "").replace("ǁ", ".")
    return Mutant(re.sub(r"\.x_(?=[^.]*$)", ".", function), "\n".join(changed["-"]), "\n".join(changed["+"]))


def explained() -> dict[Mutant, str]:
    """Return the mutants that may survive, with the reason.

    Raises:
        SystemExit: One has no reason.
    """
    with EXPLAINED.open("rb") as file:
        entries = tomllib.load(file).get("survivor", [])
    found = {Mutant(entry["function"], entry["removed"], entry["added"]): entry["why"] for entry in entries}
    for mutant, why in found.items():
        if not why:
            sys.exit(f"{EXPLAINED.name}: no reason stands at\n{mutant}")
    return found


def main() -> None:
    """Run it, print what nobody noticed, fail if that is not what survivors.toml says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=lambda text: Path(text).absolute())
    parser.add_argument("names", nargs="*", help="such as 'lftool.trust.*'; all, if none is named")
    arguments = parser.parse_args()
    reasons = explained()
    copy_checkout(arguments.workspace)
    run_mutmut(arguments.workspace, arguments.names)
    tried = {name: status for name, status in statuses(arguments.workspace).items() if status not in UNTRIED}
    unnoticed = [name for name, status in tried.items() if status in UNNOTICED]
    slow = [name for name, status in tried.items() if status in TOO_LONG]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survivors = set(pool.map(lambda name: described(arguments.workspace, name), unnoticed))
        late = set(pool.map(lambda name: described(arguments.workspace, name), slow))
    new = sorted(survivors - reasons.keys())
    gone = [] if arguments.names else sorted(reasons.keys() - survivors - late)
    for mutant in new:
        print(mutant)
    for mutant in gone:
        print(f"{mutant}# noticed today, or gone: remove it from {EXPLAINED.name}\n")
    print(
        f"{len(tried)} mutants: {len(tried) - len(unnoticed)} noticed, {len(slow)} of them as their tests took too long,"
        f" {len(unnoticed) - len(new)} explained, {len(new)} unexplained"
    )
    sys.exit(1 if new or gone else 0)


if __name__ == "__main__":
    main()
