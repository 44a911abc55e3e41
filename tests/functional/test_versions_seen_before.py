"""What was fetched once is not fetched again while its source says that it is the same version: gigabytes, perhaps."""

from __future__ import annotations

import shutil

import pytest
from attrs import Factory, define

from lftool.models.digest import Digest
from lftool.testing import FileServer, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "{}/model.gguf"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""


@define(eq=False)
class Counting(FileServer):
    """Counts what it delivers; `weak` makes its ETags weak ones."""

    delivered: list[str] = Factory(list)
    weak: bool = False

    def answer(self, handler):
        if handler.command == "GET":
            self.delivered.append(handler.path)
        sent = type(handler).send_header
        handler.send_header = lambda name, value: sent(
            handler, name, f"W/{value}" if self.weak and name == "etag" else value
        )
        FileServer.answer(self, handler)


@pytest.fixture
def server(project):
    data = tiny_gguf(project.home / "model.gguf", width=32).read_bytes()
    with Counting({"/model.gguf": data}) as running:
        project.write_recipe(RECIPE.format(running.url))
        yield running


def test_a_lock_that_failed_does_not_fetch_again(project, server):
    server.files["/model.gguf"] = b"no model" * 1000
    assert project.run("lock").status != 0
    assert project.run("lock").status != 0
    assert server.delivered == ["/model.gguf"]


def test_an_upgrade_of_what_has_not_changed_fetches_nothing(project, server):
    project.run("lock").assert_success()
    before = project.lock.read_bytes()
    project.run("lock", "--upgrade").assert_success()
    assert (project.lock.read_bytes(), server.delivered) == (before, ["/model.gguf"])


def test_an_upgrade_fetches_what_has_changed_though_its_size_is_the_same(project, server):
    project.run("lock").assert_success()
    changed = bytearray(server.files["/model.gguf"])
    changed[-1] ^= 1
    server.files["/model.gguf"] = bytes(changed)
    project.run("lock", "--upgrade").assert_success()
    assert Digest.of(bytes(changed)).hex in project.lock.read_text()
    assert server.delivered == ["/model.gguf"] * 2


def test_what_is_gone_from_the_store_is_fetched_again(project, server):
    project.run("lock").assert_success()
    shutil.rmtree(project.cache / "cas-v1")
    project.run("lock", "--upgrade").assert_success()
    assert server.delivered == ["/model.gguf"] * 2


@pytest.mark.parametrize("how", ["weak", "without a version"])
def test_a_version_that_two_files_could_share_is_fetched_again(project, server, how):
    server.weak, server.versions = how == "weak", how == "weak"
    project.run("lock").assert_success()
    project.run("lock", "--upgrade").assert_success()
    assert server.delivered == ["/model.gguf"] * 2


def test_another_address_with_the_same_version_is_another_file(project, server):
    project.run("lock").assert_success()
    server.files["/other/model.gguf"] = server.files["/model.gguf"]
    project.write_recipe(RECIPE.format(f"{server.url}/other"))
    project.run("lock").assert_success()
    assert server.delivered == ["/model.gguf", "/other/model.gguf"]
