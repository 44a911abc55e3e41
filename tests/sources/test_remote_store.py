"""Remote stores against nginx and Swift: what is pushed is enough, nothing wrong is believed, and failing fails no build."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import signal
import threading
import time

import obstore
import pytest
import zstandard

from lftool.models.digest import Digest
from lftool.testing import FaultProxy, tiny_gguf
from lftool.testing.faults import answer, stall
from lftool.testing.loopback import LoopbackServer
from lftool.testing.remote_store_kit import BUNDLE, RECIPE, RemotePlace, RemoteStoreConformance, bf16_weights

from .buckets import KEYS, new_bucket, store_of

QUANTIZED = RECIPE.replace("plain", "q8").replace('layout = "gguf"', 'layout = "gguf"\nquantize = "Q8_0"')
QUANTIZED_BUNDLE = BUNDLE.replace("plain", "q8")


class SlowServer(LoopbackServer):
    """Has nothing, and takes what is sent at 200 kB a second."""

    def __init__(self) -> None:
        self.receiving = threading.Event()

    def answer(self, handler) -> None:
        if handler.command == "HEAD":
            handler.send_error(404)
            return
        self.receiving.set()
        left = int(handler.headers["content-length"])
        while left and (piece := handler.rfile.read(min(left, 20_000))):
            left -= len(piece)
            time.sleep(0.1)
        if not left:  # all of a small file may fit into the sockets' buffers, and its sender waits for this
            handler.send_response(201)
            handler.send_header("content-length", "0")
            handler.end_headers()


@pytest.fixture
def place(nginx):
    """A folder that nginx lets everybody write to."""

    def stored(key: str) -> bytes | None:
        path = nginx.root / "store" / key
        return path.read_bytes() if path.exists() else None

    return RemotePlace(url=f"{nginx.url}/store", stored=stored)


class TestNginx(RemoteStoreConformance):
    """WebDAV, as nginx does it; it keeps no content encoding."""

    @pytest.fixture
    def place(self, place):
        return place


class TestSwift(RemoteStoreConformance):
    """A prefix of a bucket; the encoding is kept with the object."""

    @pytest.fixture
    def place(self, swift):
        bucket = new_bucket(swift)

        def stored(key: str) -> bytes | None:
            try:
                return obstore.get(store_of(swift, bucket), f"shared/{key}").bytes().to_bytes()
            except FileNotFoundError:
                return None

        environment = {**KEYS, "AWS_ENDPOINT_URL": swift}
        return RemotePlace(url=f"s3://{bucket}/shared/", stored=stored, environment=environment)


@pytest.fixture
def remote(project):
    """A locked project of one model, quantised once it is built."""
    (project.root / "files").mkdir()
    tiny_gguf(project.root / "files" / "model.gguf")
    project.write_recipe(QUANTIZED)
    project.run("lock").assert_success()
    return project


@pytest.fixture
def lftool(remote, place):
    """Run lftool with the store; `new=True` on a machine with an empty cache."""

    def run(*arguments: str, new: bool = False, **variables: str):
        quick = {"LFTOOL_STALL_SECONDS": "1", "LFTOOL_FETCH_ATTEMPTS": "2", "LFTOOL_REMOTE_STORE": place.url}
        if new:
            shutil.rmtree(remote.home / "new", ignore_errors=True)
            quick["XDG_CACHE_HOME"] = str(remote.home / "new")
        return remote.run(*arguments, env={**quick, **variables})

    return run


def object_path(nginx, data: bytes):
    return nginx.root / "store" / "cas" / Digest.of(data).hex


def model(remote) -> bytes:
    return (remote.root / "files" / "model.gguf").read_bytes()


def test_a_locked_output_is_taken_without_sources_and_without_its_quantizer(remote, lftool):
    lftool("build").assert_success()
    before = (remote.root / QUANTIZED_BUNDLE).read_bytes()
    lftool("cache", "push").assert_success()
    (remote.root / QUANTIZED_BUNDLE).unlink()
    (remote.root / "files" / "model.gguf").rename(remote.root / "gone.gguf")

    done = lftool("build", "--locked", new=True, LFTOOL_PLUGINS="", LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    assert (remote.root / QUANTIZED_BUNDLE).read_bytes() == before
    assert "targets.q8: quantised weights were not made here; remote store http" in done.err


def test_the_users_configuration_trusts_records_as_well(remote, lftool):
    lftool("build").assert_success()
    lftool("cache", "push").assert_success()
    config = remote.home / "config" / "lftool" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[remote-store]\ntrust-records = true\n")

    done = lftool("build", "--locked", new=True).assert_success()

    assert "targets.q8: quantised weights were not made here; remote store http" in done.err


def test_a_blob_without_a_record_is_made_again(remote, lftool):
    """Who may write blobs may not say what they were made of."""
    lftool("build").assert_success()
    lftool("cache", "push").assert_success()

    done = lftool("build", "--locked", new=True).assert_success()

    assert " quantize  q8  Q8_0, " in done.err
    assert "vouches" not in done.err


def test_what_was_recalled_is_not_taken_for_made_here(remote, lftool):
    lftool("build").assert_success()
    lftool("cache", "push").assert_success()
    lftool("build", "--locked", new=True, LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    pushed = lftool("cache", "push", "--json", XDG_CACHE_HOME=str(remote.home / "new")).assert_success()

    assert pushed.json()["unbuilt"] == ["q8"]


@pytest.fixture
def poisoned(remote, nginx):
    """The store says that the quantize action made something else: a model of other weights."""
    wrong = tiny_gguf(remote.root / "wrong.gguf", seed=7).read_bytes()
    object_path(nginx, wrong).parent.mkdir(parents=True)
    object_path(nginx, wrong).write_bytes(wrong)
    action = re.search(r'\[targets\.q8\.quantize\].*?action = "([0-9a-f]{64})"', remote.lock.read_text(), re.DOTALL)[1]
    (nginx.root / "store" / "ac").mkdir()
    said = {"weights": {"sha256": Digest.of(wrong).hex, "size": len(wrong)}}
    (nginx.root / "store" / "ac" / action).write_text(json.dumps(said))
    return wrong


def test_nobody_is_believed_what_an_action_made(remote, lftool, poisoned):
    lftool("build").assert_success()

    assert not (remote.root / QUANTIZED_BUNDLE).read_bytes().startswith(poisoned)


def test_who_asks_for_it_believes_what_an_action_made(remote, lftool, poisoned):
    lftool("build", LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    assert (remote.root / QUANTIZED_BUNDLE).read_bytes().startswith(poisoned)


def test_a_record_of_another_output_than_the_lock_names_does_not_count(remote, lftool, poisoned):
    lftool("build").assert_success()
    before = (remote.root / QUANTIZED_BUNDLE).read_bytes()
    (remote.root / QUANTIZED_BUNDLE).unlink()

    lftool("build", new=True, LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    assert (remote.root / QUANTIZED_BUNDLE).read_bytes() == before


SIZES = [b'{"weights": {"sha256": "%s", "size": %d}}' % (b"0" * 64, size) for size in (10**14, 2**63, -1)]


@pytest.mark.slow_cases(r"\[(?!\{\}|said5)")
@pytest.mark.parametrize(
    "said", [b"", b"[]", b"{}", b'{"weights": {"sha256": "no", "size": 1}}', b"x" * 100_000, *SIZES]
)
def test_an_action_that_cannot_be_read_is_none(remote, lftool, nginx, poisoned, said):
    (entry,) = (nginx.root / "store" / "ac").iterdir()
    entry.write_bytes(said)

    lftool("build", LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    assert not (remote.root / QUANTIZED_BUNDLE).read_bytes().startswith(poisoned)


def test_what_is_no_gguf_is_not_believed_to_be_made_by_an_action(remote, lftool, nginx, poisoned):
    object_path(nginx, b"no gguf").write_bytes(b"no gguf")
    (entry,) = (nginx.root / "store" / "ac").iterdir()
    entry.write_text(json.dumps({"weights": {"sha256": Digest.of(b"no gguf").hex, "size": 7}}))

    done = lftool("build", LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    assert "not a sound GGUF" in done.err
    assert (remote.root / QUANTIZED_BUNDLE).stat().st_size > 1000


def test_what_was_recalled_counts_for_that_build_only(remote, lftool):
    lftool("build").assert_success()
    lftool("cache", "push").assert_success()
    lftool("build", "--locked", new=True, LFTOOL_REMOTE_STORE_ACTIONS="1").assert_success()

    again = {"LFTOOL_REMOTE_STORE": "", "XDG_CACHE_HOME": str(remote.home / "new")}
    planned = lftool("build", "--locked", "--dry-run", **again).assert_success()

    assert " quantize  q8  Q8_0 with strict\n" in planned.out


def test_push_with_force_replaces_a_damaged_object(remote, lftool, nginx):
    lftool("cache", "push").assert_success()
    damaged = object_path(nginx, model(remote))
    damaged.write_bytes(damaged.read_bytes()[:1000])

    left = lftool("cache", "push", "--json").assert_success().json()
    lftool("cache", "push", "--force").assert_success()

    assert left["files"] == 0
    done = lftool("fetch", new=True).assert_success()
    assert "continuing without it" not in done.err


@pytest.mark.slow
def test_an_interrupted_push_ends_soon(remote, project):
    (remote.root / "files" / "noise.bin").write_bytes(random.Random(1).randbytes(8_000_000))
    remote.lock.unlink()
    remote.run("lock").assert_success()
    with SlowServer() as server:
        process = remote.start("cache", "push", env={"LFTOOL_REMOTE_STORE": server.url})
        assert server.receiving.wait(20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted; nothing half-written is left")


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.slow_cases(r"\[(short|long|empty|cut, compressed|frames of nothing)\]")
@pytest.mark.parametrize(
    "spoil",
    [
        flipped,
        lambda data: data[:-1],
        lambda data: data + b"!",
        lambda _: b"",
        lambda data: zstandard.compress(flipped(data)),
        lambda data: zstandard.compress(data)[:-3],
        lambda data: zstandard.compress(data + bytes(1 << 26)),
        lambda data: (
            (b"\x50\x2a\x4d\x18" + (1 << 16).to_bytes(4, "little") + bytes(1 << 16)) * (len(data) // (1 << 15))
        ),
    ],
    ids=[
        "one bit",
        "short",
        "long",
        "empty",
        "other bytes, compressed",
        "cut, compressed",
        "a bomb",
        "frames of nothing",
    ],
)
def test_a_wrong_object_is_a_warning_and_the_source_is_asked(remote, lftool, nginx, spoil):
    data = model(remote)
    object_path(nginx, data).parent.mkdir(parents=True)
    object_path(nginx, data).write_bytes(spoil(data))

    done = lftool("build", new=True).assert_success()

    assert "continuing without it" in done.err
    assert (remote.root / QUANTIZED_BUNDLE).exists()


def test_a_store_that_is_down_is_one_warning(remote, lftool):
    done = lftool("fetch", new=True, LFTOOL_REMOTE_STORE="http://127.0.0.1:9/store").assert_success()

    (warning,) = [line.split(maxsplit=1) for line in done.err.splitlines() if "remote store" in line]
    assert warning[0] == "warning"
    assert warning[1].startswith("remote store http://127.0.0.1:9/store: gave up after 2 attempts; the last one: ")
    assert warning[1].endswith("; continuing without it")


@pytest.mark.slow_cases(r"\[(403|500)\]")
@pytest.mark.parametrize("fault", [stall, answer(503), answer(403), answer(500)], ids=["stall", "503", "403", "500"])
def test_a_store_that_fails_is_a_warning(remote, lftool, place, fault):
    with FaultProxy(place.url.removesuffix("/store")) as proxy:
        proxy.inject(fault, times=100, methods=frozenset({"HEAD", "GET"}))
        done = lftool("build", new=True, LFTOOL_REMOTE_STORE=f"{proxy.url}/store").assert_success()

    assert done.err.count("continuing without it") == (0 if fault is stall else 1)


def test_offline_nobody_asks_it(remote, lftool, place):
    with FaultProxy(place.url.removesuffix("/store")) as proxy:
        lftool("build", "--offline", LFTOOL_REMOTE_STORE=f"{proxy.url}/store").assert_success()

        assert proxy.requests == []


def test_a_build_writes_nothing_to_it(remote, lftool, nginx):
    lftool("build").assert_success()

    assert not (nginx.root / "store").exists()


def test_pushing_where_one_may_not_write_says_so(remote, lftool, nginx):
    failed = lftool("cache", "push", LFTOOL_REMOTE_STORE=f"{nginx.url}/elsewhere")

    assert failed.status == 1
    assert re.search(r"error: cannot push base/model.gguf: .*/elsewhere/cas/[0-9a-f]{64} returned 413", failed.err)


def test_the_nginx_of_the_how_to_lets_those_write_who_know_the_password(remote, lftool, nginx_with, repository):
    page = (repository / "docs" / "how-to" / "share-a-store.md").read_text()
    location = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)[1]
    served = remote.root / "served"
    served.mkdir()
    (remote.root / "push").write_text("ci:{PLAIN}secret\n")
    server = nginx_with(location.replace("/etc/nginx/push", str(remote.root / "push")).replace("/srv", str(served)))
    place = {"LFTOOL_REMOTE_STORE": f"{server.url}/lftool"}

    refused = lftool("cache", "push", **place)
    lftool("cache", "push", LFTOOL_REMOTE_STORE_TOKEN="ci:secret", **place).assert_success()

    assert (refused.status, (served / "lftool" / "cas").exists()) == (1, True)
    (remote.root / "files" / "model.gguf").unlink()
    lftool("fetch", new=True, **place).assert_success()


def test_a_server_that_takes_no_actions_still_gets_the_blobs(remote, lftool, nginx_with):
    server = nginx_with("location /store/cas/ { dav_methods PUT; create_full_put_path on; client_max_body_size 0; }")
    lftool("build").assert_success()

    pushed = lftool("cache", "push", "--json", LFTOOL_REMOTE_STORE=f"{server.url}/store").assert_success()

    assert pushed.json()["files"] == 2
    assert "returned 405; this action will not be found in the store" in pushed.err


def test_pushing_nowhere_is_a_usage_error(remote, lftool):
    failed = lftool("cache", "push", LFTOOL_REMOTE_STORE="")

    assert (failed.status, failed.err.splitlines()) == (
        2,
        [
            "error: no remote store is configured",
            "  hint: name one: LFTOOL_REMOTE_STORE=https://HOST/PATH",
        ],
    )


@pytest.mark.slow_cases(r"\[(cache|https://\[|https://host:)")
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/store", "unknown remote store scheme 'ftp'"),
        ("https://me:secret@host/store", "must be scheme://host/path"),
        ("https://host/store?sig=secret", "must be scheme://host/path"),
        ("cache.example/store", "must be scheme://host/path"),
        ("https://[/", "is not a URL"),
        ("https://me:secret@ho\u2100st/store", "is not a URL"),
        ("https://host:99999/store", "is not a URL"),
    ],
)
def test_a_place_that_cannot_be_is_a_usage_error(remote, lftool, url, message):
    failed = lftool("fetch", LFTOOL_REMOTE_STORE=url)

    assert failed.status == 2
    assert message in failed.err
    assert "secret" not in failed.err


def test_a_user_and_password_are_sent_to_it_and_never_shown(remote, lftool, place):
    with FaultProxy(place.url.removesuffix("/store")) as proxy:
        proxy.inject(answer(403), times=1, methods=frozenset({"PUT"}))
        failed = lftool(
            "cache",
            "push",
            LFTOOL_REMOTE_STORE=f"{proxy.url}/store",
            LFTOOL_REMOTE_STORE_TOKEN="ci:secret",
        )
        sent = {request.headers.get("authorization") for request in proxy.requests}

    assert failed.status == 1
    assert sent == {"Basic " + base64.b64encode(b"ci:secret").decode()}
    assert "secret" not in failed.err
    assert "LFTOOL_REMOTE_STORE_TOKEN" in failed.err


def test_two_builds_at_once_fetch_an_object_once(remote, place, nginx):
    data = bf16_weights(50_000)
    (remote.root / "files" / "more.bin").write_bytes(data)
    environment = {"LFTOOL_REMOTE_STORE": place.url}
    remote.lock.unlink()
    remote.run("lock", env=environment).assert_success()
    remote.run("cache", "push", env=environment).assert_success()
    with FaultProxy(nginx.url) as proxy:
        environment = {
            "LFTOOL_REMOTE_STORE": f"{proxy.url}/store",
            "XDG_CACHE_HOME": str(remote.home / "new"),
        }
        both = [remote.start("fetch", env=environment) for _ in range(2)]
        for process in both:
            process.communicate()
        bodies = [request.path for request in proxy.asked("GET")]

    assert [process.returncode for process in both] == [0, 0]
    assert len(bodies) == len(set(bodies)) == 2
