"""`make demo`: the main job on the example, each command shown before it runs. `--picture FILE` writes an SVG of it."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = ROOT / ".cache" / "demo"
EXAMPLE = ROOT / "examples" / "tiny-story"
BUNDLE = "dist/tiny-story-1.0.0-q4.llamafile"
PUBLIC = "../../.cache/demo.pub"
PROMPT = "Tell me a story about a fox."


def commands() -> list[list[str]]:
    """Return the commands of the demo; the key pair is made once."""
    found = [] if KEYS.with_name("demo.key").exists() else [["lftool", "keygen", "-o", "../../.cache/demo"]]
    return [
        *found,
        ["lftool", "build", "--locked"],
        ["lftool", "inspect", BUNDLE],
        ["lftool", "verify", "--key", PUBLIC, BUNDLE],
        ["lftool", "run", "--key", PUBLIC, BUNDLE, "-p", PROMPT],
    ]


def run(command: list[str]) -> str:
    """Show and run one command in the example's folder; return what it printed."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [str(program), *command[1:]],
        cwd=EXAMPLE,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shown = done.stdout.replace(f"{EXAMPLE}/", "")
    print(shown, end="", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return shown


def picture(shown: list[tuple[list[str], str]], path: Path) -> None:
    """Write an SVG of the terminal."""
    import io  # noqa: PLC0415 - only the picture needs it

    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=112, file=io.StringIO())
    for command, output in shown:
        console.print(Text("$ ", style="bold green") + Text(shlex.join(command), style="bold"))
        console.print(Text(output))
    svg = console.export_svg(title="make demo", unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from other hosts
    path.write_text(svg.replace("Fira Code", "ui-monospace, Menlo, Consolas"))


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    KEYS.parent.mkdir(exist_ok=True)
    shown = [(command, run(command)) for command in commands()]
    if options.picture:
        picture(shown, options.picture)
    else:
        print(f"\nThe bundle also starts by itself: LFTOOL_PYTHON=.venv/bin/python examples/tiny-story/{BUNDLE}")


if __name__ == "__main__":
    main()
