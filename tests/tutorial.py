"""Pages run as they are written: every console block, in order, in one shell session."""

import os
import re
import shutil
import subprocess
from pathlib import Path

_FENCE = re.compile(r"^```(console|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "\x1e"


def steps_of(page: str, kinds: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Commands and the output that the page shows; a toml block `# NAME` is a command that writes the file NAME."""
    steps: list[tuple[str, list[str]]] = []
    for kind, body in _FENCE.findall(page):
        lines = body.splitlines()
        if kind not in kinds:
            continue
        if kind == "toml":
            steps.append((f"cat > {lines[0].removeprefix('# ')} <<'END_OF_FILE'\n{body}END_OF_FILE", []))
            continue
        assert lines[0].startswith("$ "), body
        for line in lines:
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), []))
            else:
                steps[-1][1].append(line)
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


def run_tutorial(repository: Path, folder: Path, programs: Path) -> None:
    """Run the tutorial, which begins in the example's folder.

    Args:
        repository: Has the page and the example.
        folder: An empty folder.
        programs: The folder of the `lftool` that is run.

    Raises:
        AssertionError: It prints something else than the page shows.
    """
    scratch = folder / "tiny-story"
    example = repository / "examples" / "tiny-story"
    shutil.copytree(example, scratch, ignore=shutil.ignore_patterns("dist", "train", "*.key"))
    _run_page(repository / "docs" / "tutorial" / "first-bundle.md", scratch, folder / "home", programs)


def run_readme(repository: Path, folder: Path, programs: Path) -> None:
    """Run the two minutes of the README, which begin in a clone; what installs lftool is left out.

    Args:
        repository: Has the README and the example.
        folder: An empty folder.
        programs: The folder of the `lftool` that is run.

    Raises:
        AssertionError: It prints something else than the README shows.
    """
    model = Path("examples", "tiny-story", "tiny-story-f16.gguf")
    clone = folder / "clone"
    (clone / model).parent.mkdir(parents=True)
    shutil.copyfile(repository / model, clone / model)
    _run_page(repository / "README.md", clone, folder / "home", programs, kinds=("console",))


def _run_page(
    page: Path, cwd: Path, home: Path, programs: Path, *, kinds: tuple[str, ...] = ("console", "toml")
) -> None:
    steps = steps_of(page.read_text(), kinds)
    assert len(steps) > 5
    home.mkdir()
    script = ["mark() { local status=$?; printf '\\036%d\\n' $status; return $status; }"]
    for command, _ in steps:
        script += [command, "mark"]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("LFTOOL_", "XDG_"))},
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    outputs = re.split(_MARK + r"\d+\n", done.stdout)
    assert len(outputs) == len(steps) + 1, done.stdout
    for (command, shown), output in zip(steps, outputs, strict=False):
        whole = output if not output or output.endswith("\n") else output + "\n"
        assert re.match(pattern_of(shown), whole), (
            f"$ {command}\nthe page shows:\n" + "\n".join(shown) + f"\nit printed:\n{whole}"
        )
