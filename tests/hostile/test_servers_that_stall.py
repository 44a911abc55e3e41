"""Servers that answer byte by byte: each byte comes before a stall, and none of them keeps anybody for ever."""

from __future__ import annotations

import hashlib
import socket
import threading
import time

import pytest

from lftool.api import SourceFile
from lftool.api.http import HTTPClient
from lftool.api.stalls import Pace
from lftool.errors import FetchError, TransientError, UsageError
from lftool_hf.source import _of_object
from lftool_s3.errors import _within


class Dripping:
    """Sends its answer one byte at a time."""

    def __init__(self, head: bytes, *, slow_head: bool) -> None:
        self._head, self._slow_head = head, slow_head
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(30)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x"
        self._over = threading.Event()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
            with connection:
                connection.recv(65536)
                if not self._slow_head:
                    connection.sendall(self._head)
                for place in range(600):
                    if self._over.wait(0.05):
                        return
                    connection.sendall(self._head[place : place + 1] if self._slow_head else b"x")
        except OSError:
            pass

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._socket.close()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(100)) + b"\r\n"


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setenv("LFTOOL_HEADER_SECONDS", "1")
    monkeypatch.setenv("LFTOOL_STALL_SECONDS", "1")


@pytest.mark.usefixtures("hurried")
def test_headers_that_do_not_end_are_given_up():
    begun = time.monotonic()
    with (
        Dripping(HEAD, slow_head=True) as server,
        pytest.raises(FetchError, match="no response headers within 1 s"),
    ):
        HTTPClient("source 'x'").ask(server.url)
    assert time.monotonic() - begun < 10


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("way", ["ask", "read"])
def test_a_body_that_is_too_slow_is_given_up(monkeypatch, way):
    monkeypatch.setattr("lftool.api.stalls.RATE_SECONDS", 1.0)
    monkeypatch.setattr(Pace.__init__, "__defaults__", (time.monotonic, 1.0))
    client = HTTPClient("source 'x'")

    def read(url: str) -> None:
        with client.read(url) as pieces:
            list(pieces)

    with Dripping(HEAD, slow_head=False) as server, pytest.raises(FetchError, match="fewer than 1024 a second"):
        (client.ask if way == "ask" else read)(server.url)


class Clock:
    """A clock that is set by what waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def pieces(self, *steps: tuple[float, int]):
        for seconds, count in steps:
            self.now += seconds
            yield b"x" * count


def test_a_pace_is_measured_over_a_minute():
    clock = Clock()
    steps = [(1, 2000)] * 100 + [(20, 1), (200, 1)]
    with pytest.raises(FetchError) as caught:
        list(Pace("x", clock=lambda: clock.now).watch(clock.pieces(*steps)))
    assert caught.value.message == "x: 1 bytes in 200 s, fewer than 1024 a second"
    assert caught.value.hints == ("if the server is this slow: LFTOOL_LEAST_RATE=BYTES_A_SECOND",)


def test_the_time_that_a_reader_takes_does_not_count():
    clock = Clock()
    for _ in Pace("x", clock=lambda: clock.now).watch(clock.pieces((1, 10), (1, 10), (1, 10))):
        clock.now += 1000


def test_the_least_rate_is_the_users(monkeypatch):
    monkeypatch.setenv("LFTOOL_LEAST_RATE", "0.5")
    clock = Clock()
    list(Pace("x", clock=lambda: clock.now).watch(clock.pieces((100, 60))))


@pytest.mark.parametrize("name", ["LFTOOL_LEAST_RATE", "LFTOOL_HEADER_SECONDS"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "inf", ""])
def test_a_bound_that_is_none_is_a_usage_error(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        HTTPClient("x").__class__("x"), Pace("x")


def git_object(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


SMALL = b'{"model_type": "llama"}'
ARRIVED = {"whole": SMALL, "changed": SMALL[:-1] + b"!", "cut short": SMALL[:-1], "longer": SMALL + b"!"}


@pytest.mark.parametrize("arrived", ARRIVED.values(), ids=ARRIVED.keys())
def test_a_small_file_of_the_hub_is_the_git_object_that_it_names(arrived):
    data = SMALL
    file = SourceFile(path="config.json", size=len(data))
    pieces = _of_object(iter([arrived]), file, git_object(data))
    if arrived == data:
        assert b"".join(pieces) == data
    else:
        with pytest.raises(TransientError, match=r"config\.json arrived damaged: expected git object"):
            list(pieces)


def test_an_object_store_that_drips_is_given_up(monkeypatch):
    """Each byte comes before a time-out; obstore alone would wait for its whole piece."""
    monkeypatch.setenv("LFTOOL_LEAST_RATE", "200000")
    monkeypatch.setenv("LFTOOL_STALL_SECONDS", "2")
    over = threading.Event()

    def dripping():
        while not over.wait(0.05):
            pass
        yield b""

    begun = time.monotonic()
    with pytest.raises(FetchError, match="received fewer than 200000 bytes a second"):
        list(_within(dripping(), 1.0, "source 's3://b/k'"))
    over.set()
    assert time.monotonic() - begun < 10


def test_pieces_of_an_object_store_come_in_order_and_so_do_failures():
    def failing():
        yield b"a"
        yield b"b"
        raise OSError("broken")

    arriving = _within(failing(), 5.0, "x")
    assert (next(arriving), next(arriving)) == (b"a", b"b")
    with pytest.raises(OSError, match="broken"):
        next(arriving)
