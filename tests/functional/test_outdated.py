"""`lftool outdated`: what has moved, and to what; nothing is changed."""

from __future__ import annotations

import pytest

from lftool.testing import FileServer, tiny_gguf
from lftool.testing.hub import HubServer
from lftool.testing.source_kit import RECIPE, large_model


@pytest.fixture
def hub():
    with HubServer() as server:
        server.repository("org/repo").commit({"model.gguf": large_model()})
        yield server


def test_a_branch_that_moved_is_named_with_both_commits(project, hub):
    env = {"HF_ENDPOINT": hub.url}
    project.write_recipe(RECIPE.format(uri="hf://org/repo@main", options=""))
    project.spawn("lock", env=env).assert_success()
    old = hub.repository("org/repo").refs["main"]
    same = project.spawn("outdated", env=env).assert_success()
    new = hub.repository("org/repo").commit({"model.gguf": large_model(), "README.md": b"x"})
    lock = project.lock.read_bytes()

    moved = project.spawn("outdated", env=env).assert_success()
    as_json = project.spawn("outdated", "--json", env=env).assert_success().json()

    assert same.out == "base  hf://org/repo@main  as locked\n"
    assert moved.out == f"base  hf://org/repo@main  {old[:19]} → {new[:19]}; changed: README.md\n"
    assert as_json == {
        "sources": [
            {
                "source": "base",
                "uri": "hf://org/repo@main",
                "locked": old,
                "current": new,
                "changed": ["README.md"],
                "moved": True,
                "unknown": False,
            }
        ]
    }
    assert project.lock.read_bytes() == lock


def test_a_file_behind_a_url_is_told_by_its_version(project):
    with FileServer(files={"/model.gguf": large_model()}) as server:
        uri = f"{server.url}/model.gguf"
        project.write_recipe(RECIPE.format(uri=uri, options=""))
        project.spawn("lock").assert_success()
        same = project.spawn("outdated").assert_success().out
        server.files["/model.gguf"] = large_model()[:-1] + b"\x01"

        assert same == f"base  {uri}  as locked\n"
        assert project.spawn("outdated").assert_success().out == f"base  {uri}  changed: model.gguf\n"


def test_without_a_version_it_cannot_be_told(project):
    with FileServer(files={"/model.gguf": large_model()}, versions=False) as server:
        uri = f"{server.url}/model.gguf"
        project.write_recipe(RECIPE.format(uri=uri, options=""))
        project.spawn("lock").assert_success()

        assert project.spawn("outdated").assert_success().out == f"base  {uri}  unknown until fetched\n"


def test_a_file_on_disk_is_hashed_and_not_stored(plain_project):
    plain_project.spawn("lock").assert_success()
    same = plain_project.spawn("outdated").assert_success().out
    tiny_gguf(plain_project.root / "model.gguf", width=32, seed=1)
    before = sorted(path.name for path in plain_project.cache.rglob("*"))

    moved = plain_project.spawn("outdated").assert_success().out

    assert (same, moved) == ("base  file:model.gguf  as locked\n", "base  file:model.gguf  changed: model.gguf\n")
    assert sorted(path.name for path in plain_project.cache.rglob("*")) == before


def test_without_a_lock_there_is_nothing_to_compare(plain_project):
    done = plain_project.spawn("outdated")

    assert (done.status, done.err) == (
        3,
        f"error: there is no lftool.lock in {plain_project.root}\n  hint: make one: lftool lock\n",
    )
