"""A small HTTP server for files in memory, with ETags and ranges, for tests that need no more than that."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from attrs import Factory, define

from lftool.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")


@define(eq=False)
class FileServer(LoopbackServer):
    """Serves `files` by path, such as `/model.gguf`. You can change them while it runs.

    Attributes:
        versions: Whether responses have an ETag.
        ranges: Whether parts are served.
        lengths: Whether responses have a length.
    """

    files: dict[str, bytes] = Factory(dict)
    versions: bool = True
    ranges: bool = True
    lengths: bool = True

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        data = self.files.get(handler.path.partition("?")[0])
        if data is None:
            handler.send_response_only(404)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        wanted = _RANGE.match(handler.headers.get("range", "")) if self.ranges else None
        if handler.headers.get("if-range", etag) != etag:
            wanted = None
        first = int(wanted[1]) if wanted else 0
        last = min(int(wanted[2] or len(data)), len(data) - 1) if wanted else len(data) - 1
        handler.send_response_only(206 if wanted else 200)
        if wanted:
            handler.send_header("content-range", f"bytes {first}-{last}/{len(data)}")
        if self.versions:
            handler.send_header("etag", etag)
        handler.send_header("content-type", "application/octet-stream")
        if self.lengths:
            handler.send_header("content-length", str(last - first + 1))
        else:
            handler.send_header("connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(data[first : last + 1])
