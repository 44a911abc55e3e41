"""Let the model library load while the bundle is being checked: `lftool run` starts both at once.

The first run of a backend notes which modules its process will import. Later runs fork at the very start: the child
checks the bundle, exactly as before, and the parent imports those modules meanwhile. Only when the child has sent the
command, and the descriptor that it verified, does the parent open the bundle. Nothing is skipped, it only overlaps; the
budget is docs/performance.md, first token.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

_MAX_MESSAGE = 1 << 20
_INTERRUPTED = 130


def note_path() -> Path:
    """Return where the modules to load are noted, beside the store."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lftool" / "preload.json"


def _noted() -> list[str]:
    try:
        status = note_path().stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            return []
        names = json.loads(note_path().read_text())
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def write_note(names: tuple[str, ...]) -> None:
    """Note what the next run can load early; a cache that cannot be written costs time only."""
    if list(names) == _noted():
        return
    from lftool.errors import StorageError
    from lftool.store.durable import write_durably

    try:
        write_durably(note_path(), json.dumps(names).encode(), "preload", mode=0o600)
    except StorageError:
        return


def _become(message: bytes, descriptor: int) -> None:
    """Run the command that the child sent, in this process, with the descriptor that it verified."""
    import runpy

    command = json.loads(message)
    path = f"/dev/fd/{descriptor}"
    os.environ.update(command["environment"])
    sys.argv = [argument.replace(command["bundle"], path) for argument in command["arguments"]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def start() -> int | None:
    """Fork if modules are noted. In the child, return the descriptor of the socket to the parent; else None.

    In the parent this does not return: it loads the modules, then runs the command or exits with the child's status.
    """
    names = _noted()
    if not names:
        return None
    import socket

    parent, child = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        parent.close()
        return child.detach()
    child.close()
    try:
        _load(names)
        message, descriptors, _, _ = socket.recv_fds(parent, _MAX_MESSAGE, 1)
        _, status = os.waitpid(pid, 0)
    except KeyboardInterrupt:  # the terminal interrupts both; the child has said so
        os._exit(_INTERRUPTED)
    if not message or not descriptors:
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    _become(message, descriptors[0])
    sys.exit(0)


def _load(names: list[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001, S112 - the runner will say what is wrong, in its own words
            continue


def hand_over(channel: int, argv: tuple[str, ...], environment: dict[str, str], descriptor: int) -> None:
    """Send the command and the verified descriptor to the waiting parent, and end this process."""
    import socket

    message = {"arguments": argv, "environment": environment, "bundle": f"/dev/fd/{descriptor}"}
    with socket.socket(fileno=channel) as parent:
        socket.send_fds(parent, [json.dumps(message).encode()], [descriptor])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
