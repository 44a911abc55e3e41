"""`make demo`: the README's first screen, each command shown before it runs. `--full` starts from safetensors.

`--picture FILE` writes an SVG of the full one.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "tiny-story"
MODEL = EXAMPLE / "tiny-story-f16.gguf"
FIRST = ROOT / ".cache" / "demo"
FIRST_BUNDLE = "dist/tiny-story-0.1.0-q4.gguf"
BUNDLE = "dist/tiny-story-1.0.0-q4.llamafile"
NATIVE = ROOT / "examples" / "native"
NATIVE_BUNDLE = "dist/tiny-story-1.0.0-native.llamafile"
PUBLIC = "demo.pub"
PROMPT = "Tell me a story about a fox."


def commands() -> list[list[str]]:
    """Return the commands of the demo, those of the README's first screen, in a folder that has a model."""
    return [
        ["lftool", "keygen", "-o", "release"],
        ["lftool", "init"],
        ["lftool", "lock"],
        ["lftool", "build"],
        ["lftool", "verify", "--key", "release.pub", FIRST_BUNDLE],
        ["lftool", "run", "--key", "release.pub", FIRST_BUNDLE, "-p", PROMPT, "--temperature", "0"],
        ["lftool", "rebuild", FIRST_BUNDLE],
    ]


def full_commands(folder: Path = EXAMPLE) -> list[list[str]]:
    """Return the commands of the whole example, in its folder; the key pair is made once."""
    found = [] if (folder / "demo.key").exists() else [["lftool", "keygen", "-o", "demo"]]
    return [
        *found,
        ["lftool", "build", "--locked"],
        ["lftool", "verify", "--key", PUBLIC, BUNDLE],
        ["lftool", "run", "--key", PUBLIC, BUNDLE, "-p", PROMPT],
        ["lftool", "rebuild", BUNDLE],
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


def begun(folder: Path) -> Path:
    """Return the folder, with a model and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(MODEL, folder)
    return folder


def run(command: list[str], folder: Path) -> str:
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


WIDTH, ROWS = 104, 200
COLOURS = {"red": "red", "green": "green", "brown": "yellow", "cyan": "cyan", "default": ""}  # pyte's names to rich's


def rows(screen: Any) -> list[Text]:
    """Return what a screen shows, without the blank rest."""
    from rich.text import Text

    shown = []
    for number in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[number][column]
            style = " ".join(filter(None, ["bold" if cell.bold else "", COLOURS.get(cell.fg, "")]))
            line.append(cell.data, style)
        line.rstrip()
        shown.append(line)
    while shown and not shown[-1].plain:
        shown.pop()
    return shown


def watched(command: list[str], folder: Path) -> tuple[list[Text], list[Text]]:
    """Run a command on a terminal; return the moment that has the most bars, if any has one, and what is left at the end."""
    import pexpect  # noqa: PLC0415 - only the picture needs it
    import pyte  # noqa: PLC0415

    screen = pyte.Screen(WIDTH, ROWS)
    stream = pyte.Stream(screen)
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = pexpect.spawn(
        str(Path(sys.executable).with_name(command[0])),
        command[1:],
        cwd=str(folder),
        env=environment,
        dimensions=(ROWS, WIDTH),
        encoding="utf-8",
        timeout=600,
    )
    most = 0
    moment: list[Text] = []
    while True:
        try:
            stream.feed(process.read_nonblocking(65536, timeout=600))
        except pexpect.EOF:
            break
        shown = rows(screen)
        bars = [line for line in shown if "━" in line.plain and "left" in line.plain]
        if len(bars) > most:
            most, moment = len(bars), shown
    process.close()
    if process.exitstatus:
        sys.exit("\n".join(line.plain for line in rows(screen)))
    return moment, rows(screen)


def picture(path: Path) -> None:
    """Run the full demo as on a fresh machine, and write an SVG of the terminal: building, when it has got some way, and at its end."""
    import io  # noqa: PLC0415 - only the picture needs it
    import tempfile  # noqa: PLC0415

    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = f"{temporary}/cache"
        folder = Path(temporary, EXAMPLE.name)
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("dist", "train", "demo.*"))
        for command in full_commands(folder):
            moment, end = watched(command, folder)
            console.print(Text("$ ", style="bold green") + Text(shlex.join(command), style="bold"))
            same = sum(1 for one, other in zip(moment, end, strict=False) if one == other)
            for line in [*moment, Text("⋮", style="dim"), *end[same:]] if moment else end:
                begin = line.plain.find(f"{folder}/")
                if begin >= 0:
                    line = line[:begin] + line[begin + len(f"{folder}/") :]  # noqa: PLW2901 - the line to show
                console.print(line, soft_wrap=True)
            console.print()
    svg = console.export_svg(title="make demo-full", unique_id="demo")
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
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--native", action="store_true")
    options = parser.parse_args()
    if options.native:
        native()
    elif options.picture:
        picture(options.picture)
    elif options.full:
        for command in full_commands():
            run(command, EXAMPLE)
        print(f"\nThe bundle also starts by itself: LFTOOL_PYTHON=.venv/bin/python examples/tiny-story/{BUNDLE}")
        print(
            "A bundle that needs no Python, answering in an empty root: make demo-native (compiles for seven minutes)"
        )
    else:
        folder = begun(FIRST)
        for command in commands():
            run(command, folder)
        print(
            f"\nAll of it is in {FIRST.relative_to(ROOT)}. Talk to it: .venv/demo/bin/lftool run {FIRST.relative_to(ROOT)}/{FIRST_BUNDLE}"
        )
        print(
            "From safetensors, into bundles that start by themselves: make demo-full (compiles for five to fifteen minutes)"
        )


if __name__ == "__main__":
    main()
