"""A terminal with a screen, for tests of what a person sees: a pseudo-terminal, read by a terminal emulator."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DEADLINE = 30
ROWS = 200


class Terminal:
    """A program on a terminal.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        variables: Its environment.
        columns: Width of the terminal.
    """

    def __init__(
        self, command: Sequence[str | Path], folder: Path, variables: Mapping[str, str], columns: int = 80
    ) -> None:
        program, *arguments = map(str, command)
        # prompt_toolkit asks where the cursor is, which nobody answers here.
        environment = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **variables}
        self.columns = columns
        self._received: list[str] = []
        self._process = pexpect.spawn(
            program,
            arguments,
            cwd=str(folder),
            env=environment,
            dimensions=(ROWS, columns),
            encoding="utf-8",
            timeout=DEADLINE,
        )
        self._process.logfile_read = self

    def write(self, text: str) -> None:
        """Note what the program wrote; pexpect calls this."""
        self._received.append(text)

    def flush(self) -> None:
        """Do nothing; pexpect calls this."""

    def wait_for(self, pattern: str) -> None:
        """Wait until the program writes something new that matches."""
        self._process.expect(pattern)

    def type(self, text: str) -> None:
        """Type some keys."""
        self._process.send(text)

    def paste(self, text: str) -> None:
        """Paste a text, as terminals do for programs that asked for it (xterm's bracketed paste mode)."""
        asked = "".join(self._received).rfind("\033[?2004h") > "".join(self._received).rfind("\033[?2004l")
        self._process.send(f"\033[200~{text}\033[201~" if asked else text)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.sendintr()

    def end(self) -> int:
        """Wait until the program ends; return its exit status."""
        self._process.expect(pexpect.EOF)
        self._process.close()
        return os.waitstatus_to_exitcode(self._process.status)

    def close(self) -> None:
        """End the program."""
        self._process.close(force=True)

    def lines(self) -> list[str]:
        """Return what is on the screen now, without the blank rest."""
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            while True:
                self._process.read_nonblocking(65536, timeout=0.2)
        return self.received()

    def received(self) -> list[str]:
        """Return what the screen shows of what has been read; for programs that never pause."""
        screen = pyte.Screen(self.columns, ROWS)
        pyte.Stream(screen).feed("".join(self._received))
        return re.sub(r"\n+\Z", "", "\n".join(line.rstrip() for line in screen.display)).splitlines()
