"""Named points at which a test can end the process or fail the call: `LFTOOL_FAILPOINT=blob.before-rename=kill`."""

from __future__ import annotations

import errno
import os
import signal

VARIABLE = "LFTOOL_FAILPOINT"


def failpoint(label: str, step: str) -> None:
    """Do what the environment asks for at `label.step`: nothing, as a rule.

    Raises:
        OSError: With ENOSPC, when the environment asks for `enospc`.
        KeyboardInterrupt: When it asks for `interrupt`.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    name, _, effect = wanted.partition("=")
    if name != f"{label}.{step}":
        return
    if effect == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if effect == "interrupt":
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.SIGKILL)
