"""Files and bases on servers: read by ranges, tensor by tensor, and never kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from attrs import define
from tests.prove.conftest import changed, make

from lftool.testing.file_server import FileServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from lftool.testing import ProjectFolder


@define(eq=False)
class Failing(FileServer):
    """Answers every third request with an error."""

    count: int = 0
    every: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.count += 1
        if self.every and self.count % self.every == 0 and handler.command == "GET":
            handler.send_response_only(503)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        super().answer(handler)


@pytest.fixture
def served(folder: ProjectFolder) -> Iterator[tuple[ProjectFolder, Failing]]:
    """The folder with an honest file, and a server that has base and file."""
    make(folder.root / "base.gguf", folder.root / "made.gguf", "Q4_K_M")
    with Failing(files=_files(folder)) as server:
        yield folder, server


def _files(folder: ProjectFolder) -> dict[str, bytes]:
    return {f"/{name}": (folder.root / name).read_bytes() for name in ("base.gguf", "made.gguf")}


def test_a_remote_file_is_proved_against_a_local_base(served) -> None:
    folder, server = served
    done = folder.run("prove", f"{server.url}/made.gguf", "--base", "base.gguf", "--json").assert_success()
    found = done.json()
    assert found["verdict"] == "identical file"
    size = len(server.files["/made.gguf"])
    assert size - 100_000 < found["fetched"] <= size + (1 << 20)


def test_both_may_be_remote_and_nothing_is_kept(served) -> None:
    folder, server = served
    before = _store(folder)
    folder.run("prove", f"{server.url}/made.gguf", "--base", f"{server.url}/base.gguf").assert_success()
    assert {path: size for path, size in _store(folder).items() if size > 100_000 and path not in before} == {}
    assert not list((folder.cache / "tmp").glob("*"))


def _store(folder: ProjectFolder) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.cache.rglob("*") if path.is_file()}


def test_a_server_that_fails_now_and_then_is_asked_again(served) -> None:
    folder, server = served
    server.every = 5
    done = folder.run("prove", f"{server.url}/made.gguf", "--base", "base.gguf", env={"LFTOOL_RETRY_SECONDS": "0"})
    assert done.assert_success().out.startswith("made.gguf: identical file")


def test_a_server_without_ranges_is_refused_with_what_to_do(served) -> None:
    folder, server = served
    server.ranges = False
    done = folder.run("prove", f"{server.url}/made.gguf", "--base", "base.gguf")
    assert done.status in {1, 8}
    assert "error:" in done.err


def test_a_remote_bundle_is_read_up_to_its_weights(served) -> None:
    folder, server = served
    folder.run("pack", "made.gguf", "-o", "out").assert_success()
    (bundle,) = (folder.root / "out").iterdir()
    server.files["/bundle.gguf"] = bundle.read_bytes()
    done = folder.run("prove", f"{server.url}/bundle.gguf", "--base", "base.gguf").assert_success()
    assert "identical tensors" in done.out


def test_a_remote_file_that_differs_is_named_as_a_local_one_is(served) -> None:
    folder, server = served
    changed(folder.root / "made.gguf", "blk.0.attn_v.weight", lambda part: part.__setitem__(5, part[5] ^ 0x80))
    server.files.update(_files(folder))
    remote = folder.run("prove", f"{server.url}/made.gguf", "--base", "base.gguf", "--json")
    local = folder.run("prove", "made.gguf", "--base", "base.gguf", "--json")
    assert (remote.status, local.status) == (7, 7)
    assert remote.json()["tensors"] == local.json()["tensors"]


def test_two_remote_models_are_compared(served) -> None:
    folder, server = served
    done = folder.run("diff", f"{server.url}/made.gguf", "made.gguf", "--json").assert_success()
    assert json.loads(done.out)["equal"] is True
