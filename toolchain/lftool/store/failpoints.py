"""Named points where a test can kill the process or make the call fail: `LFTOOL_FAILPOINT=blob.before-rename=kill`."""

from __future__ import annotations

import errno
import os
import signal

VARIABLE = "LFTOOL_FAILPOINT"


def failpoint(label: str, step: str) -> None:
    """Do what the environment requests at `label.step`, normally nothing.

    Raises:
        OSError: With ENOSPC, if the environment requests `enospc`.
        KeyboardInterrupt: If it requests `interrupt`.
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
