"""Rules for names that end up in files: bundle names, keys, member paths."""

from __future__ import annotations

import re

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
SEGMENT_PATTERN = r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]{0,127}"
MAX_PATH = 512

_NAME = re.compile(NAME_PATTERN + r"\Z")
_SEGMENT = re.compile(SEGMENT_PATTERN + r"\Z")
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)


def check_name(value: str) -> str:
    """Return `value` if it can name a bundle, a target or a source.

    Raises:
        ValueError: It is not ASCII letters, digits and `._+-`, or is too long.
    """
    if not _NAME.match(value):
        raise ValueError(
            f"{value!r} is not a name: letters, digits and . _ + -, at most 64, starting with a letter or digit"
        )
    if value.split(".", 1)[0].lower() in _WINDOWS_DEVICES:
        raise ValueError(f"{value!r} is a device name on Windows")
    return value


def check_member_path(value: str) -> str:
    """Return `value` if it can be the path of a bundle member (docs/reference/bundle-format.md, Paths).

    Raises:
        ValueError: The path could escape, collide, or be a device on some system.
    """
    if len(value) > MAX_PATH:
        raise ValueError(f"path longer than {MAX_PATH} characters: {value[:40]!r}…")
    for segment in value.split("/"):
        if not _SEGMENT.match(segment) or segment.endswith("."):
            raise ValueError(
                f"{value!r} is not a portable path: each part is letters, digits and . _ + = -, not starting or ending with a dot"
            )
        if segment.split(".", 1)[0].lower() in _WINDOWS_DEVICES:
            raise ValueError(f"{value!r} has a part that is a device name on Windows")
    return value
