"""The gate of both servers against one table, over a socket: what a browser or a script really sends."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest
from tests.gates import GATE, KEYS
from tests.native.test_serving import KINDS, serving

SERVERS = (KINDS[0], KINDS[2])


def raw(url: str, head: str, body: bytes = b"", wait: float = 10) -> tuple[int, str]:
    """Send a request byte by byte as it is written; return the status, and all that came. 0 when the server hung up."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), wait) as connection:
        data = b""
        try:
            connection.sendall(head.encode("latin-1") + b"\r\n" + body)
            while piece := connection.recv(65536):
                data += piece
        except (TimeoutError, ConnectionError):
            pass
    found = re.match(rb"HTTP/1.1 (\d{3})", data)
    return int(found[1]) if found else 0, data.decode("latin-1")


def head(path: str, *headers: str, method: str = "GET") -> str:
    return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", *headers, "Connection: close"))


@pytest.fixture(scope="module", params=SERVERS)
def open_server(request, story, native, tmp_path_factory):
    with serving(request.param, story, native, log=tmp_path_factory.mktemp("log") / "log") as server:
        yield server


@pytest.fixture(scope="module", params=SERVERS)
def guarded(request, story, native, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    with serving(request.param, story, native, log=log, LLAMA_API_KEY="k") as server:
        yield server


@pytest.mark.parametrize(("hosts", "origins", "elsewhere"), GATE.values(), ids=GATE.keys())
def test_who_asks_from_elsewhere_is_refused(open_server, hosts, origins, elsewhere):
    lines = [*(f"Host: {host}" for host in hosts), *(f"Origin: {origin}" for origin in origins)]
    status, _ = raw(open_server.url, head("/v1/models", *lines))
    if elsewhere:
        assert status in {400, 403}
    elif hosts:  # HTTP/1.1 asks for a Host; a server may refuse a request without one
        assert status == 200


@pytest.mark.parametrize(("given", "allowed"), KEYS.values(), ids=KEYS.keys())
def test_who_has_the_key_gets_in(guarded, given, allowed):
    lines = ["Host: localhost", *(f"Authorization: {value}" for value in given)]
    status, _ = raw(guarded.url, head("/v1/models", *lines))
    assert status == (200 if allowed else 401)


def test_no_client_changes_adapters_where_there_is_no_key(open_server):
    body = b'[{"id": 0, "scale": 5.0}]'
    lines = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    status, _ = raw(open_server.url, head("/lora-adapters", *lines, method="POST"), body)
    assert status in {403, 404}


@pytest.mark.slow
def test_requests_that_are_half_sent_do_not_stay(story, native, tmp_path):
    with serving(KINDS[2], story, native, log=tmp_path / "log") as server:
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        begun = time.monotonic()
        connections = [socket.create_connection((host, int(port)), 30) for _ in range(300)]
        for connection in connections:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        for connection in connections:
            assert connection.recv(1) == b""
            connection.close()
        assert time.monotonic() - begun < 30
        assert server.get("/health").status_code == 200


WRONG = {
    "a token that is not there": ("/v1/completions", {"prompt": [10**9]}),
    "a bias that is not there": ("/v1/completions", {"prompt": "x", "logit_bias": {"999999": 1}}),
    "top_k that does not fit": ("/v1/completions", {"prompt": "x", "top_k": 2**40}),
    "a seed that does not fit": ("/v1/completions", {"prompt": "x", "seed": 2**70}),
    "a suffix": ("/v1/completions", {"prompt": "x", "suffix": "y"}),
    "many log probabilities": ("/v1/completions", {"prompt": "x", "logprobs": 2**40}),
    "a prompt that does not fit": ("/v1/completions", {"prompt": "fox " * 5000}),
    "a schema of nothing": (
        "/v1/chat/completions",
        {"response_format": {"type": "json_object", "schema": {"type": "x"}}},
    ),
    "embeddings": ("/v1/embeddings", {"input": "x"}),
    "tokenising": ("/extras/tokenize", {"input": "x"}),
}


@pytest.fixture(scope="module")
def python_server(story, native, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    with serving(KINDS[2], story, native, log=log) as server:
        yield server, log


@pytest.mark.parametrize(("path", "body"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_4xx_and_the_server_goes_on(python_server, path, body):
    server, log = python_server
    said = "a-prompt-that-nobody-logs"
    messages = [{"role": "user", "content": said}]
    data = json.dumps({"messages": messages, "max_tokens": 1, **body}).encode()
    lines = ["Host: localhost", f"Content-Length: {len(data)}"]  # no content type
    status, text = raw(server.url, head(path, *lines, method="POST"), data)
    assert 400 <= status < 500, text
    assert json.loads(text.partition("\r\n\r\n")[2])["error"]["message"]
    assert server.process.poll() is None
    done = server.client().completions.create(model="story", prompt="Once upon a time", max_tokens=2)
    assert done.choices[0].text
    assert said not in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_body_is_refused_before_it_is_kept(python_server, announced):
    server, _ = python_server
    lines = ["Host: localhost"]
    if announced:
        status, _ = raw(server.url, head("/v1/completions", *lines, f"Content-Length: {1 << 33}", method="POST"))
    else:
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        request = head("/v1/completions", *lines, "Transfer-Encoding: chunked", method="POST")
        status, _ = raw(server.url, request, piece * 20)
    assert status in {0, 413}
    assert server.get("/health").status_code == 200
