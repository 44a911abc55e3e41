"""The console script. What must start fast is answered before the argument parser is imported: `--version`, `run`."""

from __future__ import annotations

import gc
import os
import sys

from lftool import __version__

# Importing makes hardly any garbage, and looking for it is a tenth of the start; at the end, another tenth.
_COLLECT_AFTER = 200_000


def _fill_standard_streams() -> None:
    """Take the place of standard streams that are closed, or a bundle that is opened would become standard input."""
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free; writing to it is an error
            os.set_inheritable(stream, True)  # noqa: FBT003 - the function takes nothing else


def _leave_working_folder() -> None:
    """Import nothing from the folder of the script, which for `python -m lftool` is the project; as `python -I` has it."""
    if not sys.flags.safe_path:
        del sys.path[0]


def main() -> None:
    """Run lftool as a program."""
    _leave_working_folder()
    _fill_standard_streams()
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"lftool {__version__}\n")
        return
    if sys.argv[1:2] == ["run"]:
        from lftool.cli.quickstart import start_again

        start_again(sys.argv[2:])
    gc.set_threshold(_COLLECT_AFTER)
    from lftool.cli.main import main as run_command

    try:
        run_command()
    finally:
        gc.freeze()  # the process ends: what it holds goes with it


if __name__ == "__main__":
    main()
