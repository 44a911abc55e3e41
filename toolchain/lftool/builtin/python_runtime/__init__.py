"""Runtime python/1: a `#!/bin/sh` prefix that hands the bundle to Python 3, and a runner as a member.

Both files are frozen, since bundles and locks contain their digests. A change to either needs a new number.
"""

from __future__ import annotations

from pathlib import Path

from lftool.api import RUNNER_PATH, RuntimeMember, RuntimeParts

_FOLDER = Path(__file__).parent


class PythonRuntime:
    """Reads the two frozen files."""

    def parts(self) -> RuntimeParts:
        """Return the prefix and the runner."""
        return RuntimeParts(
            prefix=(_FOLDER / "prefix.sh").read_bytes(),
            members=(RuntimeMember(path=RUNNER_PATH, role="runner", data=self.runner().read_bytes()),),
        )

    def runner(self) -> Path:
        """Return the runner's path."""
        return _FOLDER / "runner.py"
