"""A proxy between a client and a real HTTP server on this machine, which breaks the server's responses.

    with FaultProxy("http://127.0.0.1:9000") as proxy:
        proxy.inject(cut_short, times=2)
        ...  # the client talks to proxy.url

It uses only loopback addresses: it listens on 127.0.0.1 and connects to the server that the test started.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from attrs import Factory, define, evolve, frozen

from lftool.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from types import TracebackType

_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
_STALL_SECONDS = 30.0
_CONTENT = frozenset({"GET"})
_INVERTED = bytes(byte ^ 0xFF for byte in range(256))
End = Literal["", "close", "reset", "stall"]


@frozen(kw_only=True)
class Request:
    """A client's request: method, path with query, headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@frozen(kw_only=True)
class Response:
    """The response to the client: `sent` bytes of the body, then the connection ends as in `end`."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None
    end: End = ""


Upstream = Callable[[Request], Response]
Fault = Callable[[Request, Response, Upstream], Response]


def _with_length(response: Response) -> Response:
    return evolve(response, headers={**response.headers, "content-length": str(len(response.body))})


def cut_short(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Announce everything, send half, close."""
    return evolve(response, sent=len(response.body) // 2, end="close")


def go_on(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Announce no length, send more than there is."""
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return evolve(response, headers=headers, body=response.body + b"more", end="close")


def announce_less(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Send seven bytes less, and announce the shorter length."""
    headers = {name: value for name, value in response.headers.items() if name != "content-range"}
    return _with_length(evolve(response, headers=headers, body=response.body[:-7], status=200))


def ignore_range(data: bytes) -> Fault:
    """Return a fault that answers 200 with the whole file, `data`, whatever part was requested."""

    def fault(_request: Request, response: Response, _upstream: Upstream) -> Response:
        headers = {name: value for name, value in response.headers.items() if name != "content-range"}
        return _with_length(evolve(response, status=200, headers=headers, body=data))

    return fault


def send_another_range(data: bytes) -> Fault:
    """Return a fault that answers a request for a part with the first bytes of the file, `data`."""

    def fault(request: Request, response: Response, _upstream: Upstream) -> Response:
        if "range" not in request.headers:
            return response
        headers = {**response.headers, "content-range": f"bytes 0-99/{len(data)}"}
        return _with_length(evolve(response, status=206, headers=headers, body=data[:100]))

    return fault


def change_version(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Send another version of the file: another ETag, and other bytes of the same length."""
    headers = {name: value for name, value in response.headers.items() if name != "last-modified"}
    return evolve(response, headers={**headers, "etag": '"another"'}, body=response.body.translate(_INVERTED))


def answer_with_html(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Answer 200 with an HTML page."""
    page = b"<html><body>Please log in.</body></html>"
    kept = {name: value for name, value in response.headers.items() if name not in {"content-range", "etag"}}
    return _with_length(evolve(response, status=200, headers={**kept, "content-type": "text/html"}, body=page))


def stall(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Send half and fall silent."""
    return evolve(response, sent=len(response.body) // 2, end="stall")


def reset(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Send half and reset the connection."""
    return evolve(response, sent=len(response.body) // 2, end="reset")


def corrupt(_request: Request, response: Response, _upstream: Upstream) -> Response:
    """Change one bit in the middle of the body."""
    body = bytearray(response.body)
    if body:
        body[len(body) // 2] ^= 1
    return evolve(response, body=bytes(body))


def answer(status: int, **headers: str) -> Fault:
    """Return a fault that answers with a status and no file."""

    def fault(_request: Request, response: Response, _upstream: Upstream) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return _with_length(evolve(response, status=status, headers=named, body=b"no"))

    return fault


@define
class _Plan:
    fault: Fault
    times: int
    path: str
    methods: frozenset[str]


@define(eq=False)
class FaultProxy(LoopbackServer):
    """The proxy. `requests` has the requests of clients so far."""

    upstream: str
    requests: list[Request] = Factory(list)
    _plans: list[_Plan] = Factory(list)
    _lock: threading.Lock = Factory(threading.Lock)
    _ended: threading.Event = Factory(threading.Event)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        super().__exit__(kind, value, trace)

    def inject(self, fault: Fault, *, times: int = 1, path: str = "", methods: frozenset[str] = _CONTENT) -> None:
        """Apply `fault` to the next `times` requests of `methods` whose path contains `path`."""
        with self._lock:
            self._plans.append(_Plan(fault, times, path, methods))

    def heal(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._plans.clear()

    def asked(self, method: str = "GET") -> list[Request]:
        """Return the requests of one method, in order."""
        return [request for request in self.requests if request.method == method]

    def _next(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for plan in self._plans:
                if plan.times and plan.path in request.path and request.method in plan.methods:
                    plan.times -= 1
                    return plan.fault
        return None

    def _ask(self, request: Request) -> Response:
        parts = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_STALL_SECONDS)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name not in _HOP:
                    connection.putheader(name, value)
            connection.endheaders(request.body or None)
            found = connection.getresponse()
            headers = {name.lower(): value for name, value in found.getheaders() if name.lower() not in _HOP}
            body = found.read()
        finally:
            connection.close()
        made = Response(status=found.status, headers=headers, body=body)
        return made if "content-length" in headers or request.method == "HEAD" else _with_length(made)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = int(handler.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(method=handler.command, path=handler.path, headers=headers, body=handler.rfile.read(length))
        fault = self._next(request)
        response = self._ask(request)
        if fault is not None:
            response = fault(request, response, self._ask)
        with contextlib.suppress(OSError):
            self._send(handler, request, response)

    def _send(self, handler: BaseHTTPRequestHandler, request: Request, response: Response) -> None:
        handler.send_response_only(response.status)
        for name, value in response.headers.items():
            handler.send_header(name, value)
        if response.end:
            handler.send_header("connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if request.method == "HEAD":
            return
        handler.wfile.write(response.body[: response.sent])
        handler.wfile.flush()
        if response.end == "stall":
            self._ended.wait(_STALL_SECONDS)
        if response.end == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
