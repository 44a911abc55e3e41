"""Pages run as they are written: every console block, in order, in one shell session, compared with what it prints."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

_FENCE = re.compile(r"^```(console|toml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "\x1e"
_BEGIN = ["mark() { local status=$?; printf '\\036%d\\n' $status; return $status; }"]


@frozen
class Step:
    """A command, and the lines that the page shows as its output; None if the page shows none."""

    command: str
    shown: list[str] | None


def steps_of(page: str, kinds: tuple[str, ...]) -> list[Step]:
    """Return the steps in fences of some kinds; a toml block `# NAME` is a command that writes the file NAME."""
    steps: list[Step] = []
    for kind, body in _FENCE.findall(page):
        lines = body.splitlines()
        if kind not in kinds:
            continue
        if kind == "sh":
            steps += [Step(line, None) for line in lines]
        elif kind == "toml":
            steps.append(Step(f"cat > {lines[0].removeprefix('# ')} <<'END_OF_FILE'\n{body}END_OF_FILE", []))
        else:
            assert lines[0].startswith("$ "), body
            for line in lines:
                if line.startswith("$ "):
                    steps.append(Step(line.removeprefix("$ "), []))
                else:
                    steps[-1].shown.append(line)
    return steps


def pattern_of(shown: list[str]) -> str:
    """`…` alone on a line stands for any lines, none too; within a line for any text."""
    parts = []
    for line in shown:
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(re.escape(line).replace("…", r"[^\n]*") + r"\n")
    return "".join(parts) + r"\Z"


def follow(steps: list[Step], shell: Callable[[str], str]) -> None:
    """Follow steps.

    Args:
        steps: In order.
        shell: Runs a script of bash, and returns what it prints, standard error included.

    Raises:
        AssertionError: One fails, or prints something else than the page shows.
    """
    assert len(steps) > 5
    script = list(_BEGIN)
    for step in steps:
        script += [step.command, "mark"]
    printed = shell("\n".join(script))
    outputs = re.split(_MARK + r"(\d+)\n", printed)
    assert len(outputs) == 2 * len(steps) + 1, printed
    for step, output, status in zip(steps, outputs[::2], outputs[1::2], strict=False):
        whole = output if not output or output.endswith("\n") else output + "\n"
        if step.shown is None:
            assert status == "0", f"$ {step.command}\n{whole}"
        else:
            assert re.match(pattern_of(step.shown), whole), (
                f"$ {step.command}\nthe page shows:\n" + "\n".join(step.shown) + f"\nit printed:\n{whole}"
            )


def tutorial(repository: Path) -> list[Step]:
    """Return the steps of the tutorial, which begin in the example's folder with lftool installed."""
    return steps_of((repository / "docs" / "tutorial" / "first-bundle.md").read_text(), ("console", "toml"))


def two_minutes(repository: Path, kinds: tuple[str, ...] = ("sh", "console")) -> list[Step]:
    """Return the steps of the README's first section, which begin in a clone and install lftool."""
    section = re.search(r"^## Two minutes\n(.*?)^## ", (repository / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    return steps_of(section[1], kinds)


def shell_here(cwd: Path, home: Path, programs: Path) -> Callable[[str], str]:
    """Return a shell of this machine, in a folder, with an empty home and a folder of programs before all others."""
    home.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("LFTOOL_", "XDG_"))},
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }

    def shell(script: str) -> str:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout

    return shell


def run_tutorial(repository: Path, folder: Path, programs: Path) -> None:
    """Run the tutorial in an empty folder, with the `lftool` of a folder of programs.

    Raises:
        AssertionError: It prints something else than the page shows.
    """
    scratch = folder / "tiny-story"
    example = repository / "examples" / "tiny-story"
    shutil.copytree(example, scratch, ignore=shutil.ignore_patterns("dist", "train", "*.key"))
    follow(tutorial(repository), shell_here(scratch, folder / "home", programs))


def run_two_minutes(repository: Path, folder: Path, programs: Path) -> None:
    """Run the README's first section in an empty folder, with the `lftool` of a folder of programs.

    Raises:
        AssertionError: It prints something else than the README shows.
    """
    model = Path("examples", "tiny-story", "tiny-story-f16.gguf")
    clone = folder / "clone"
    (clone / model).parent.mkdir(parents=True)
    shutil.copyfile(repository / model, clone / model)
    follow(two_minutes(repository, ("console",)), shell_here(clone, folder / "home", programs))
