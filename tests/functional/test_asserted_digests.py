"""A digest behind an address, or one that a source gives, is not a lock: a file that differs has not changed since anything."""

from __future__ import annotations

import pytest

from lftool.models.digest import Digest
from lftool.testing import FileServer, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "{}/model.gguf#sha256={}"
[model]
weights = "base"
[targets.plain]
layout = "gguf"
"""


@pytest.fixture
def server(project):
    data = tiny_gguf(project.home / "model.gguf", width=32).read_bytes()
    with FileServer({"/model.gguf": data}) as running:
        yield running


def test_a_wrong_one_at_the_first_lock_is_the_addresss(project, server):
    wrong = Digest.of(b"another file")
    project.write_recipe(RECIPE.format(server.url, wrong))
    done = project.run("lock")
    assert done.status == 4
    assert f"expected sha256 {wrong}" in done.err
    assert "changed since it was locked" not in done.err
    assert done.err.endswith(
        "; the expected digest comes from the source, or from #sha256= in its uri\n"
        "  hint: compare the digest with the one that the file's owner publishes\n"
    )
    assert not project.lock.exists()


def test_one_that_was_locked_has_changed_since(project, server):
    good = Digest.of(server.files["/model.gguf"])
    project.write_recipe(RECIPE.format(server.url, good))
    project.run("lock").assert_success()
    server.files["/model.gguf"] = bytes(len(server.files["/model.gguf"]))
    for path in (project.cache / "cas-v1").rglob("*"):
        if path.is_file() and Digest.of(path.read_bytes()) == good:
            path.unlink()
    done = project.run("build")
    assert (done.status, "it has changed since it was locked" in done.err) == (4, True)
