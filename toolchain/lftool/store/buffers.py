"""Read buffers that begin on a page: the kernel copies into others at half the speed (docs/performance.md)."""

from __future__ import annotations

import mmap


def page_aligned_buffer(size: int) -> memoryview:
    """Return a writable buffer of `size` bytes that begins on a page."""
    return memoryview(mmap.mmap(-1, size))
