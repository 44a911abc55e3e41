"""Whether a model fits into the memory that this process may have, said before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lftool.api import ModelSize

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _limit(folder: Path) -> int | None:
    """Return the limit of one control group, in bytes; None if it has none (cgroups(7), version 2)."""
    try:
        text = (folder / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def memory_limit(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int | None:
    """Return the least limit of this process's control group and those above it, in bytes; None if there is none.

    Args:
        cgroups: Where control groups are mounted.
        own: The file that names this process's control group.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), None)
    if path is None or ".." in path.split("/"):
        return None
    folder = cgroups / path
    limits = [_limit(place) for place in (folder, *folder.parents) if place.is_relative_to(cgroups)]
    return min((limit for limit in limits if limit is not None), default=None)


def memory_here() -> int:
    """Return the memory that this process may have at most, in bytes."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit()
    return whole if limit is None else min(whole, limit)


def shortage(size: ModelSize, memory: int) -> str:
    """Return a sentence about a model that needs more memory than there is; empty if it fits.

    Weights are mapped, so a model that is too large may still run, but slowly: parts of it are read again and again.
    """
    if size.total <= memory:
        return ""
    cache = size.total - size.weights
    told = f"needs {size.total / 1e9:.1f} GB of memory: weights {size.weights / 1e9:.1f} GB"
    if cache:
        told += f", a context of {size.context} tokens {cache / 1e9:.1f} GB"
    way = "give a smaller --ctx, or use smaller weights" if cache > memory // 4 else "use smaller weights"
    return f"{told}; the limit here is {memory / 1e9:.1f} GB. The model may fail or be very slow: {way}"
