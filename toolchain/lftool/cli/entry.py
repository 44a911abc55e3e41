"""The console script. `--version` answers before the argument parser is imported: scripts ask for it often."""

from __future__ import annotations

import sys

from lftool import __version__


def main() -> None:
    """Run lftool as a program."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"lftool {__version__}\n")
        return
    channel = None
    if sys.argv[1:2] == ["run"]:
        from lftool.cli import prestart

        channel = prestart.start()
    from lftool.cli.main import main as run_command

    run_command(channel)
