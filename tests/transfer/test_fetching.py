"""Fetching through lftool itself: killed and resumed, at the same time from two processes, without a network."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time

import attrs
import pytest

from lftool.models.digest import Digest
from lftool.testing import FaultProxy, FileServer, ProjectFolder
from lftool.testing.faults import Request, Response, answer, change_version, corrupt
from lftool.testing.source_kit import BUNDLE, RECIPE, large_model


@pytest.fixture
def files():
    with FileServer(files={"/model.gguf": large_model()}) as server:
        yield server


@pytest.fixture
def proxy(files):
    with FaultProxy(files.url) as made:
        yield made


@pytest.fixture
def remote(project, proxy) -> ProjectFolder:
    """A locked project that asks for the file behind the proxy, and whose cache is empty."""
    project.write_recipe(RECIPE.format(uri=f"{proxy.url}/model.gguf", options=""))
    project.run("lock", env={"XDG_CACHE_HOME": str(project.home / "first")}).assert_success()
    proxy.requests.clear()
    return project


def stored(project) -> list[str]:
    """Everything in the store but folders, locks and markers."""
    kept = ("cas-v1", "partial-v1", "tmp")
    return sorted(p.name for kind in kept for p in (project.cache / kind).rglob("*") if p.is_file())


def in_pieces(_request: Request, response: Response, _upstream) -> Response:
    time.sleep(0.05)
    return response


@pytest.mark.slow
def test_a_fetch_killed_twenty_times_ends_with_the_right_bytes_and_no_litter(remote, proxy):
    proxy.inject(in_pieces, times=1000)
    chance = random.Random(2026)
    for _ in range(20):
        process = remote.start("fetch")
        time.sleep(chance.uniform(0.1, 0.9))
        process.send_signal(signal.SIGKILL)
        process.communicate()

    remote.run("build").assert_success()

    assert (remote.root / BUNDLE).read_bytes().startswith(large_model())
    assert [name for name in stored(remote) if name.endswith((".data", ".journal", ".tmp"))] == []


def killed_after_chunks(remote, proxy, count: int) -> None:
    """Let a fetch get `count` chunks, then kill it."""
    hold = len(proxy.requests) + count

    def wait_for_the_kill(_request, response, _upstream):
        time.sleep(30)
        return response

    proxy.inject(in_pieces, times=count)
    proxy.inject(wait_for_the_kill, times=1000)
    process = remote.start("fetch")
    deadline = time.monotonic() + 20
    journal = remote.cache / "partial-v1"
    while time.monotonic() < deadline:
        lines = sum(len(path.read_bytes().splitlines()) for path in journal.glob("*.journal"))
        if lines >= count and len(proxy.requests) >= hold:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    proxy.heal()
    proxy.requests.clear()


def ranges(proxy) -> list[str]:
    return sorted(request.headers["range"] for request in proxy.asked())


CHUNK = 4 * 1024 * 1024


def test_a_killed_fetch_asks_only_for_what_is_missing(remote, proxy):
    killed_after_chunks(remote, proxy, 2)

    remote.run("fetch").assert_success()

    assert len(ranges(proxy)) == 1
    remote.run("build", "--offline").assert_success()


def test_what_a_killed_fetch_left_is_not_trusted(remote, proxy):
    killed_after_chunks(remote, proxy, 2)
    (data,) = (remote.cache / "partial-v1").glob("*.data")
    with data.open("r+b") as file:
        for start in range(0, len(large_model()), CHUNK):
            file.seek(start + 7)
            file.write(b"\xaa")

    remote.run("fetch").assert_success()

    assert len(ranges(proxy)) == 3
    remote.run("build", "--offline").assert_success()


def test_a_journal_that_lies_ends_in_starting_over_and_says_so(remote, proxy):
    """CRC-32 is no digest: whoever can write the cache can make it fit; sha256 is what decides."""
    import zlib

    killed_after_chunks(remote, proxy, 2)
    (data,) = (remote.cache / "partial-v1").glob("*.data")
    with data.open("r+b") as file:
        file.write(b"\xaa" * CHUNK)
    data.with_suffix(".journal").write_bytes(b"0 %08x\n" % zlib.crc32(b"\xaa" * CHUNK))

    done = remote.run("fetch").assert_success()

    assert "source 'base', file model.gguf: cannot use what an earlier fetch left; starting over\n" in done.err
    remote.run("build", "--offline").assert_success()


def test_a_version_that_changes_on_the_way_is_noticed_and_said(remote, proxy):
    proxy.inject(change_version, times=1)

    done = remote.run("fetch").assert_success()

    assert done.err.splitlines()[0].endswith(
        f'/model.gguf has changed: expected version {_etag()}, got "another"; starting over'
    )


def test_a_version_that_differs_per_replica_is_pinned_by_content(project, files, proxy):
    """Behind a balancer, every server may compute another ETag for the same bytes."""
    project.write_recipe(RECIPE.format(uri=f"{proxy.url}/model.gguf", options=""))
    served = 0

    def another(request: Request, response: Response, _upstream) -> Response:
        nonlocal served
        served += 1
        headers = {name: value for name, value in response.headers.items() if name != "etag"}
        return attrs.evolve(response, headers={**headers, "etag": f'"replica-{served}"'})

    proxy.inject(another, times=100)
    done = project.run("lock").assert_success()
    assert "fetched in one go instead, and pinned by its content alone\n" in done.err
    assert Digest.of(large_model()).hex in project.lock.read_text()
    project.run("build").assert_success()


def _etag() -> str:
    import hashlib

    return f'"{hashlib.sha256(large_model()).hexdigest()[:16]}"'


def test_a_remote_that_now_has_another_file_is_refused_with_both_digests(remote, files):

    other = large_model()[:-1] + b"\x77"
    files.files["/model.gguf"] = other

    done = remote.run("fetch")

    size = len(other)
    assert (done.status, done.err.splitlines()[-2:]) == (
        4,
        [
            (
                f"error: source 'base', file model.gguf: expected sha256 {Digest.of(large_model())} ({size} bytes),"
                f" got {Digest.of(other)} ({size} bytes); it has changed since it was locked"
            ),
            "  hint: to accept the change: lftool lock --upgrade base",
        ],
    )
    assert stored(remote) == []


def test_one_wrong_bit_is_fetched_once_more_and_said(remote, proxy):
    proxy.inject(corrupt, times=1)

    done = remote.run("fetch").assert_success()

    assert done.err.splitlines()[0].endswith("; fetching it once more")


def test_wrong_bits_for_good_are_refused_and_nothing_is_kept(remote, proxy):
    proxy.inject(corrupt, times=1000)

    done = remote.run("fetch")

    assert done.status == 4
    assert stored(remote) == []


def test_two_builds_that_want_the_same_bytes_fetch_them_once(remote, proxy):
    proxy.inject(in_pieces, times=1000)

    both = [remote.start("fetch") for _ in range(2)]

    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    assert len(proxy.asked()) == 3


def test_a_file_without_a_version_is_fetched_in_one_piece(project):
    with FileServer(files={"/model.gguf": large_model()}, versions=False) as server, FaultProxy(server.url) as proxy:
        project.write_recipe(RECIPE.format(uri=f"{proxy.url}/model.gguf", options=""))

        project.run("lock").assert_success()

        assert [request.headers.get("range") for request in proxy.asked()] == [None]


def test_a_server_without_ranges_or_lengths_is_read_in_one_piece(project):
    served = FileServer(files={"/model.gguf": large_model()}, ranges=False, lengths=False)
    with served as server:
        project.write_recipe(RECIPE.format(uri=f"{server.url}/model.gguf", options=""))

        project.run("lock").assert_success()
        project.run("build").assert_success()

    assert (project.root / BUNDLE).read_bytes().startswith(large_model())


DENY = """\
import socket, sys
class Denied(socket.socket):
    def __init__(self, family=-1, *rest, **more):
        if family in (socket.AF_INET, socket.AF_INET6):
            sys.stderr.write("an internet socket was made\\n")
            raise SystemExit(99)
        super().__init__(family, *rest, **more)
socket.socket = Denied
from lftool.cli.main import run
sys.exit(run({arguments!r}))
"""


@pytest.mark.parametrize("arguments", [["build", "--offline"], ["build", "--frozen"], ["lock", "--check"]])
def test_offline_makes_no_internet_socket(remote, arguments):
    remote.run("build").assert_success()

    done = subprocess.run(
        [sys.executable, "-c", DENY.format(arguments=arguments)],
        cwd=remote.root,
        env=remote.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )

    assert (done.returncode, "socket" in done.stderr) == (0, False), done.stderr


def test_offline_builds_in_a_network_namespace_without_interfaces(remote):
    probe = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("this system grants no network namespace")
    remote.run("fetch").assert_success()

    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "lftool.cli.entry", "build", "--offline"],
        cwd=remote.root,
        env=remote.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_online_needs_the_network_that_the_namespace_has_not(remote):
    """The test above could not fail otherwise."""
    probe = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("this system grants no network namespace")

    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "lftool.cli.entry", "build"],
        cwd=remote.root,
        env={**remote.environment, "LFTOOL_FETCH_ATTEMPTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, "Network is unreachable" in done.stderr) == (1, True), done.stderr


def test_a_port_that_nobody_listens_on_is_named_with_what_was_tried(project):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    project.write_recipe(RECIPE.format(uri=f"http://127.0.0.1:{port}/model.gguf", options=""))

    done = project.run("lock", env={"LFTOOL_FETCH_ATTEMPTS": "1"})

    assert (done.status, done.err) == (
        1,
        f"error: source 'base': gave up; the last one: http://127.0.0.1:{port}/model.gguf: [Errno 111] Connection refused\n",
    )


@pytest.mark.parametrize("lengths", [True, False])
def test_an_asserted_digest_holds_whether_the_size_is_known_or_not(project, lengths):
    with FileServer(files={"/model.gguf": large_model()}, lengths=lengths) as server:
        project.write_recipe(RECIPE.format(uri=f"{server.url}/model.gguf#sha256={'0' * 64}", options=""))

        done = project.run("lock", env={"LFTOOL_FETCH_ATTEMPTS": "1"})

    assert (done.status, project.lock.exists()) == (4, False)
    assert stored(project) == []


@pytest.mark.parametrize("etag", ['W/"1"', None])
def test_without_a_strong_version_nothing_is_fetched_in_parts_before_the_digest_is_known(project, proxy, etag):
    def weaken(_request, response, _upstream):
        headers = {name: value for name, value in response.headers.items() if name != "etag"}
        return attrs.evolve(response, headers=headers if etag is None else {**headers, "etag": etag})

    proxy.inject(weaken, times=1000, methods=frozenset({"GET", "HEAD"}))
    project.write_recipe(RECIPE.format(uri=f"{proxy.url}/model.gguf", options=""))

    project.run("lock").assert_success()

    assert [request.headers.get("range") for request in proxy.asked()] == [None]


def test_a_remote_that_breaks_off_in_every_chunk_is_read_to_the_end(remote, proxy):
    """Each connection brings 3 MB and breaks; nothing is lost, and no attempt counts that brought a byte."""

    def three_megabytes(_request, response, _upstream):
        return attrs.evolve(response, sent=3_000_000, end="reset")

    proxy.inject(three_megabytes, times=1000)

    remote.run("fetch", env={"LFTOOL_FETCH_ATTEMPTS": "3"}).assert_success()


def test_a_remote_that_refuses_one_connection_is_read_over_the_others(remote, proxy):
    refused = iter(range(1000))

    def busy(request, response, upstream):
        slow = in_pieces(request, response, upstream)
        return answer(429, retry_after="0")(request, slow, upstream) if next(refused) % 2 else slow

    proxy.inject(busy, times=1000)

    remote.run("fetch", env={"LFTOOL_FETCH_ATTEMPTS": "3"}).assert_success()


@pytest.mark.parametrize("location", ["http://h:SECRET/x", "http://[bad", "ftp://host/x", "http:///nothing"])
def test_a_redirect_to_nonsense_is_an_error_that_does_not_repeat_it(project, files, location):
    with FaultProxy(files.url) as proxy:
        project.write_recipe(RECIPE.format(uri=f"{proxy.url}/model.gguf", options=""))
        project.run("lock", env={"XDG_CACHE_HOME": str(project.home / "first")}).assert_success()
        proxy.inject(answer(302, location=location), times=1000)

        done = project.run("fetch")

    assert done.status == 1
    assert "SECRET" not in done.err
    assert "plugin" not in done.err


def test_a_pre_signed_url_that_refuses_head_is_asked_with_get(project):
    class NoHead(FileServer):
        def answer(self, handler):
            if handler.command == "HEAD":
                handler.send_response_only(403)
                handler.send_header("content-length", "0")
                handler.end_headers()
            else:
                super().answer(handler)

    with NoHead(files={"/model.gguf": large_model()}) as server:
        project.write_recipe(RECIPE.format(uri=f"{server.url}/model.gguf", options=""))

        project.run("lock").assert_success()


@pytest.mark.parametrize("secret", ["sek\nret", "sekret\x07", "sékret"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_repeated(project, files, secret):
    project.write_recipe(RECIPE.format(uri=f"{files.url}/model.gguf", options=""))
    project.write_credentials(f'[hosts."{files.url}"]\ntoken = "env:TOKEN"\n')

    done = project.run("lock", env={"TOKEN": secret})

    assert done.status == 8
    assert "ret" not in done.err.replace("secret", "")
