"""How output looks: colours that mean something, and how much is said. Options set it, in variables that children inherit."""

from __future__ import annotations

import os
import shutil
import textwrap
from typing import IO, Literal

from lftool.models.terminal_text import printable

COLOR, VERBOSITY = "LFTOOL_COLOR", "LFTOOL_VERBOSITY"
Style = Literal["good", "bad", "caution", "hint", "name", "dim"]
_CODES: dict[Style, str] = {"good": "32", "bad": "1;31", "caution": "33", "hint": "36", "name": "1", "dim": "2"}


def has_colors(stream: IO[str]) -> bool:
    """Return whether output to `stream` is coloured.

    `--color` decides, then NO_COLOR (https://no-color.org), then whether it is a terminal that can.
    """
    wanted = os.environ.get(COLOR, "auto")
    if wanted in {"always", "never"}:
        return wanted == "always"
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def styled(text: str, style: Style, stream: IO[str]) -> str:
    """Return `text` for `stream`, with control characters escaped, in a colour if output there is coloured."""
    shown = printable(text)
    return f"\x1b[{_CODES[style]}m{shown}\x1b[0m" if shown and has_colors(stream) else shown


def folded(text: str, stream: IO[str], indent: int) -> str:
    """Return `text` for `stream`: on a terminal broken at words, further lines `indent` columns in; else as it is."""
    if not stream.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns - 1)
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def verbosity() -> int:
    """Return how much to say: -1 with `--quiet` (results and problems), 0, or 1 with `--verbose`."""
    try:
        return max(-1, min(1, int(os.environ.get(VERBOSITY, "0"))))
    except ValueError:
        return 0
