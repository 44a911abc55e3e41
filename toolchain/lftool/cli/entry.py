"""The console script. What must start fast is answered before the argument parser is imported: `--version`, `run`."""

from __future__ import annotations

import sys

from lftool import __version__


def main() -> None:
    """Run lftool as a program."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"lftool {__version__}\n")
        return
    if sys.argv[1:2] == ["run"]:
        from lftool.cli.quickstart import start_again

        start_again(sys.argv[2:])
    from lftool.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
