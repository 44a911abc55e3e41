"""Page-aligned read buffers: the kernel copies into unaligned ones at half the speed (docs/performance.md)."""

from __future__ import annotations

import mmap


def page_aligned_buffer(size: int) -> memoryview:
    """Return a writable buffer of `size` bytes, aligned to a page."""
    return memoryview(mmap.mmap(-1, size))


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next allocation instead of returning it to the kernel each time.

    Until a process has freed a large block, glibc returns the top of its heap after every received piece, and the
    kernel zeroes the same pages again for the next: two seconds of system time for 1 GiB (docs/performance.md). Freeing one
    block of 16 MiB raises the limit (malloc.c, "dynamic mmap threshold"). Other C libraries are unaffected.
    """
    bytearray(16 * 1024 * 1024)
