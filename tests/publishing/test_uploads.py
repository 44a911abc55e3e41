"""How a blob is uploaded where an upload can be resumed: a registry as the distribution spec has it, in a few lines."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import Factory, define

from lftool.api import Anonymous, FetchError, TransientError
from lftool.testing.loopback import LoopbackServer
from lftool_oci.artifacts import Blob
from lftool_oci.reference import parse_reference
from lftool_oci.registry import Registry
from lftool_oci.uploads import Uploader, chunk_size

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

DATA = random.Random(1).randbytes(1_000_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
CHUNK = 300_000


@define(eq=False)
class ResumableRegistry(LoopbackServer):
    """Keeps what arrived of an upload, even of a request that broke off.

    Attributes:
        cut: After how many bytes of an upload the connection breaks off, once each.
        ranges: The ranges that were sent.
        silent: Whether it then answers as if all were well.
        least: What it says that chunks must have at least.
    """

    cut: list[int] = Factory(list)
    ranges: list[str] = Factory(list)
    least: int = 0
    silent: bool = False
    received: bytearray = Factory(bytearray)
    blobs: dict[str, bytes] = Factory(dict)
    begun: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, query = handler.path.partition("?")[0], parse_qs(urlsplit(handler.path).query)
        if handler.command == "HEAD":
            found = self.blobs.get(path.rpartition("/")[2])
            self._send(handler, 404 if found is None else 200, {"content-length": str(len(found or b""))})
        elif handler.command == "POST":
            self.begun += 1
            self.received.clear()
            least = {"oci-chunk-min-length": str(self.least)} if self.least else {}
            self._send(handler, 202, {"location": f"/v2/tiny/blobs/uploads/{self.begun}", **least})
        elif handler.command == "GET":
            self._send(handler, 204, self._state())
        elif not self._take(handler):
            return
        elif handler.command == "PUT":
            self.blobs[query["digest"][0]] = bytes(self.received)
            self._send(handler, 201, {})
        else:
            self._send(handler, 202, self._state())

    def _state(self) -> dict[str, str]:
        return {"location": f"/v2/tiny/blobs/uploads/{self.begun}", "range": f"0-{max(0, len(self.received) - 1)}"}

    def _take(self, handler: BaseHTTPRequestHandler) -> bool:
        left = int(handler.headers.get("content-length", 0))
        if handler.command == "PATCH":
            self.ranges.append(handler.headers["content-range"])
            if int(self.ranges[-1].partition("-")[0]) != len(self.received):
                handler.rfile.read(left)
                self._send(handler, 416, {})
                return False
        while left:
            if self.cut and len(self.received) >= self.cut[0]:
                self.cut.pop(0)
                handler.close_connection = True
                return self.silent
            piece = handler.rfile.read(min(10_000, left))
            self.received += piece
            left -= len(piece)
        return True

    def _send(self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        handler.send_response_only(status)
        for name, value in {"content-length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()


@define
class Attempts:
    """What uploads work with: three attempts without a pause."""

    done: list[int] = Factory(list)

    def sending(self, _path: str, _total: int):
        import contextlib

        return contextlib.nullcontext(self.done.append)

    def retried(self, ask, what: str):
        for _ in range(2):
            try:
                return ask()
            except TransientError:
                continue
        try:
            return ask()
        except TransientError as error:
            raise FetchError(f"{what}: {error.message}") from error

    def notice(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture
def server():
    with ResumableRegistry() as server:
        yield server


def upload(server: ResumableRegistry, chunk: int = CHUNK) -> int:
    reference = parse_reference(f"oci://{server.address}/tiny:v1")
    uploader = Uploader(Registry(reference, "push", Anonymous()), Attempts(), chunk, None)
    blob = Blob(
        name="weights", digest=DIGEST, size=len(DATA), content=lambda start, size: iter([DATA[start : start + size]])
    )
    return uploader.blob(blob)


def test_chunks_follow_one_another(server):
    assert upload(server) == len(DATA)
    assert server.ranges == ["0-299999", "300000-599999", "600000-899999", "900000-999999"]
    assert server.blobs == {DIGEST: DATA}


def test_after_a_cut_only_what_is_missing_is_sent(server):
    server.cut = [450_000]
    upload(server)
    assert server.ranges == ["0-299999", "300000-599999", "450000-749999", "750000-999999"]
    assert (server.begun, server.blobs) == (1, {DIGEST: DATA})


def test_what_the_registry_says_that_it_has_counts(server):
    server.cut, server.silent = [450_000], True
    upload(server)
    assert server.ranges == ["0-299999", "300000-599999", "450000-749999", "750000-999999"]
    assert server.blobs == {DIGEST: DATA}


def test_a_cut_before_the_first_byte_starts_over(server):
    """`Range: 0-0` is what registries say of an upload without a byte, and of one with a byte."""
    server.cut = [0]
    upload(server)
    assert (server.begun, server.blobs) == (2, {DIGEST: DATA})


def test_a_connection_that_breaks_again_and_again_is_given_up(server):
    server.cut = [100_000, 110_000, 120_000, 130_000]
    with pytest.raises(FetchError, match=r"^push: weights: "):
        upload(server)
    assert server.blobs == {}


def test_the_least_size_of_a_chunk_counts(server):
    server.least = 600_000
    upload(server)
    assert server.ranges == ["0-599999", "600000-999999"]


def test_a_blob_that_is_no_larger_than_a_chunk_goes_at_once(server):
    upload(server, len(DATA))
    assert (server.ranges, server.blobs) == ([], {DIGEST: DATA})


def test_a_cut_of_what_goes_at_once_starts_over(server):
    server.cut = [500_000]
    upload(server, 0)
    assert (server.begun, server.blobs) == (2, {DIGEST: DATA})


@pytest.mark.parametrize(
    ("registry", "wanted", "size"),
    [
        ("registry.example", None, 64 * 2**20),
        ("127.0.0.1:5000", None, 64 * 2**20),
        ("ghcr.io", None, 0),
        ("europe-docker.pkg.dev", None, 0),
        ("ghcr.io", 4, 4 * 2**20),
        ("registry.example", 0, 0),
    ],
)
def test_the_size_of_chunks(registry, wanted, size):
    assert chunk_size(registry, wanted) == size
