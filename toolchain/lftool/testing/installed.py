"""`lftool plugins test`: run the conformance kits on an installed plugin, in a separate process."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_TESTS = """\
from lftool.host.discovery import discover
from lftool.testing.kits import test_classes as classes

globals().update(classes(next(item for item in discover() if item.origin.entry_point == {name!r})))
del classes
"""


def main(name: str, arguments: list[str]) -> int:
    """Test a plugin.

    Args:
        name: Name of its entry point.
        arguments: More arguments for pytest.

    Returns:
        pytest's exit status; 2 if everything passes and an example is missing. Records with an example are tested
        anyway.
    """
    import pytest  # noqa: PLC0415 - the command has checked that it is installed

    from lftool.host.discovery import discover  # noqa: PLC0415 - after that
    from lftool.testing.kits import missing_examples, test_classes  # noqa: PLC0415 - needs pytest

    plugin = next(item for item in discover() if item.origin.entry_point == name)
    missing, status = missing_examples(plugin), 0
    if test_classes(plugin):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "test_installed.py"
            path.write_text(_TESTS.format(name=name))
            before = Path.cwd()
            os.chdir(folder)
            plugins = ["-p", "lftool.testing.plugin", "-p", "no:cacheprovider"]
            status = int(pytest.main(["-q", "--rootdir", folder, *plugins, *arguments, str(path)]))
            os.chdir(before)
    sys.stdout.flush()
    if missing:
        sys.stderr.write(f"error: {plugin.origin} has records without an example to test them with\n")
        sys.stderr.writelines(f"  {line}\n" for line in missing)
        sys.stderr.write("  hint: yield them from `lftool_examples`: lftool help plugin-api\n")
    return status or (2 if missing else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
