"""`make demo`: the main job on the example, each command shown before it runs. `--picture FILE` writes an SVG of it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "tiny-story"
BUNDLE = "dist/tiny-story-1.0.0-q4.llamafile"
NATIVE = ROOT / "examples" / "native"
NATIVE_BUNDLE = "dist/tiny-story-1.0.0-native.llamafile"
PUBLIC = "demo.pub"
PROMPT = "Tell me a story about a fox."


def commands(folder: Path = EXAMPLE) -> list[list[str]]:
    """Return the commands of the demo in a folder that has the example; the key pair is made once."""
    found = [] if (folder / "demo.key").exists() else [["lftool", "keygen", "-o", "demo"]]
    return [
        *found,
        ["lftool", "build", "--locked"],
        ["lftool", "inspect", BUNDLE],
        ["lftool", "verify", "--key", PUBLIC, BUNDLE],
        ["lftool", "run", "--key", PUBLIC, BUNDLE, "-p", PROMPT],
    ]


def native_commands() -> list[list[str]]:
    """Return the commands of the demo of a native bundle: built with Python, answering in a root that has none."""
    change = ["chroot"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "chroot"]
    return [
        ["lftool", "lock"],
        ["lftool", "build"],
        ["lftool", "check", NATIVE_BUNDLE],
        ["mkdir", "-p", "dist/root"],
        ["cp", NATIVE_BUNDLE, "dist/root/story"],
        ["find", "dist/root", "-type", "f"],
        [*change, "dist/root", "/story", "-p", PROMPT],
        ["lftool", "export", "container", NATIVE_BUNDLE, "dist/image"],
    ]


def run(command: list[str], folder: Path = EXAMPLE) -> str:
    """Show and run one command in an example's folder; return what it printed."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    ours = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [str(ours) if command[0] == "lftool" else command[0], *command[1:]],
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shown = done.stdout.replace(f"{folder}/", "")
    print(shown, end="", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return shown


def picture(path: Path) -> None:
    """Run the demo as on a fresh machine, and write an SVG of the terminal."""
    import io  # noqa: PLC0415 - only the picture needs it
    import tempfile  # noqa: PLC0415

    from rich.console import Console
    from rich.text import Text

    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = f"{temporary}/cache"
        folder = Path(temporary, EXAMPLE.name)
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("dist", "train", "demo.*"))
        shown = [(command, run(command, folder)) for command in commands(folder)]
    console = Console(record=True, width=112, file=io.StringIO())
    for command, output in shown:
        console.print(Text("$ ", style="bold green") + Text(shlex.join(command), style="bold"))
        console.print(Text(output))
    svg = console.export_svg(title="make demo", unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from other hosts
    path.write_text(svg.replace("Fira Code", "ui-monospace, Menlo, Consolas"))


def native() -> None:
    """Run the demo of a native bundle."""
    shutil.rmtree(NATIVE / "dist", ignore_errors=True)
    shutil.copy(EXAMPLE / "tiny-story-f16.gguf", NATIVE)
    for command in native_commands():
        run(command, NATIVE)
    print(f"\nIt serves, too: examples/native/{NATIVE_BUNDLE} --server")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--native", action="store_true")
    options = parser.parse_args()
    if options.native:
        native()
        return
    if options.picture:
        picture(options.picture)
    else:
        for command in commands():
            run(command)
        print(f"\nThe bundle also starts by itself: LFTOOL_PYTHON=.venv/bin/python examples/tiny-story/{BUNDLE}")
        print(
            "A bundle that needs no Python, answering in an empty root: make demo-native (compiles for seven minutes)"
        )


if __name__ == "__main__":
    main()
