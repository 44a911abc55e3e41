"""CRC-32 as ZIP files have it.

isal computes it ten times faster than zlib, by carry-less multiplication (60 against 6.6 GiB/s on an EPYC). zlib stands in
where there is no wheel of it.
"""

from __future__ import annotations

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["crc32"]
