"""Runtime python/1: a `#!/bin/sh` prefix that hands the bundle over to Python 3, and a runner member.

Both files are frozen: bundles and locks name their digest. A change of either is a new number.
"""

from __future__ import annotations

from pathlib import Path

from lftool.api import RUNNER_PATH, RuntimeMember, RuntimeParts

_FOLDER = Path(__file__).parent


class PythonRuntime:
    """Reads the two frozen files."""

    def parts(self) -> RuntimeParts:
        """Return prefix and runner."""
        return RuntimeParts(
            prefix=(_FOLDER / "prefix.sh").read_bytes(),
            members=(RuntimeMember(path=RUNNER_PATH, role="runner", data=self.runner().read_bytes()),),
        )

    def runner(self) -> Path:
        """Return the runner's path."""
        return _FOLDER / "runner.py"
