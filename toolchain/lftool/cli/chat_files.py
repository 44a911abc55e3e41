"""Where a chat keeps what the user typed, and the conversations that were saved: for the user alone."""

from __future__ import annotations

import contextlib
import os

from lftool.store.places import chat_history, saved_chats

_MOST_HISTORY = 1 << 20  # bytes; the older half is dropped then


def chat_files(*, history: bool) -> dict[str, str]:
    """Make the files, with mode 0600, and return the variables that tell the runtime about them.

    The runtime is confined, and may write only what exists when it starts. Where the files cannot be made, the chat
    keeps nothing.

    Args:
        history: Whether to keep what is typed.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        folder = saved_chats()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found["LFTOOL_CHATS"] = str(folder)
        if history:
            path = chat_history()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            if path.stat().st_size > _MOST_HISTORY:
                kept = path.read_bytes()[-_MOST_HISTORY // 2 :]
                path.write_bytes(kept[kept.find(b"\n# ") + 1 :])
            found["LFTOOL_HISTORY"] = str(path)
    return found
