"""`lftool push file:…` and `s3://…`: plain files with an `index.json`, and `lftool pull` from them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from tests.sources.buckets import KEYS, new_bucket, store_of
from tests.sources.conftest import swift

from lftool.testing import FileServer

__all__ = ["swift"]

PLAIN, START = "tiny-1-plain.gguf", "tiny-1-start.llamafile"
PARTS = ["tiny-1-plain.gguf", "tiny-1-plain.lftool", "tiny-1-start.gguf", "tiny-1-start.lftool", "tiny-1-start.runtime"]


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def index_of(data: bytes) -> dict:
    return {entry["target"]: entry for entry in json.loads(data)["bundles"]}


def test_a_folder_gets_the_parts_and_an_index(folder):
    done = folder.run("push", "file:shelf", "dist", "--json").assert_success().json()
    found = contents(folder.root / "shelf")
    assert sorted(found) == ["index.json", *PARTS]
    assert done["sent"] == sum(len(data) for name, data in found.items() if name != "index.json")
    entry = index_of(found["index.json"])["start"]
    files = {file["path"]: file for file in entry.pop("files")}
    assert {name: file["sha256"] for name, file in files.items()} == {
        name: hashlib.sha256(found[name]).hexdigest() for name in PARTS if "start" in name
    }
    assert [file["role"] for file in files.values()] == ["weights", "runtime", "sidecar"]
    assert entry == {
        "name": "tiny",
        "version": "1",
        "target": "start",
        "layout": "llamafile",
        "backend": "cpu",
        "runtime": "python/1",
        "manifest_sha256": entry["manifest_sha256"],
        "size": (folder.root / "dist" / START).stat().st_size,
        "license": "Apache-2.0",
        "description": "A model for tests.",
        "architecture": "llama",
        "quantization": "F16",
        "parameters": 5310720,
        "context": 64,
    }


@pytest.mark.parametrize("whole", [(), ("--whole",)])
def test_bundles_come_back_from_a_folder(folder, whole):
    folder.run("push", "file:shelf", "dist", *whole).assert_success()
    folder.run("pull", "file:shelf", "-o", "back", "--key", "release.pub").assert_success()
    assert contents(folder.root / "back") == contents(folder.root / "dist")


def test_whole_bundles_in_a_folder(folder):
    folder.run("push", "file:shelf", "dist", "--whole").assert_success()
    found = contents(folder.root / "shelf")
    assert {name: found[name] for name in (PLAIN, START)} == contents(folder.root / "dist")
    assert (folder.root / "shelf" / "index.json").exists()


def test_what_is_there_is_not_written_again(folder):
    folder.run("push", "file:shelf", "dist").assert_success()
    before = {path.name: path.stat().st_mtime_ns for path in (folder.root / "shelf").iterdir()}
    again = folder.run("push", "file:shelf", "dist", "--json").assert_success().json()
    assert (again["sent"], again["present"]) == (0, 5)
    assert {path.name: path.stat().st_mtime_ns for path in (folder.root / "shelf").iterdir()} == before


def test_bundles_of_earlier_pushes_stay_listed(folder):
    folder.run("push", "file:shelf", f"dist/{PLAIN}").assert_success()
    folder.run("push", "file:shelf", f"dist/{START}").assert_success()
    assert set(index_of((folder.root / "shelf" / "index.json").read_bytes())) == {"plain", "start"}


def test_another_file_of_a_name_is_not_replaced(folder):
    (folder.root / "shelf").mkdir()
    (folder.root / "shelf" / PLAIN).write_text("mine")
    done = folder.run("push", "file:shelf", "dist")
    assert (done.status, f"{PLAIN} is there already, with other contents" in done.err) == (2, True), done.err
    assert contents(folder.root / "shelf") == {PLAIN: b"mine"}
    folder.run("push", "file:shelf", "dist", "--force").assert_success()
    assert sorted(contents(folder.root / "shelf")) == ["index.json", *PARTS]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"format": "lftool-index/2", "bundles": []}', b"\xff"])
def test_an_index_of_somebody_else_is_left(folder, data):
    (folder.root / "shelf").mkdir()
    (folder.root / "shelf" / "index.json").write_bytes(data)
    done = folder.run("push", "file:shelf", "dist")
    assert (done.status, "was not written by lftool push" in done.err) == (4, True), done.err
    assert contents(folder.root / "shelf") == {"index.json": data}


def test_a_full_disk_leaves_no_half_of_a_file(folder, monkeypatch):
    from lftool.builtin import folder_destination

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_destination.os, "fsync", full)
    done = folder.run("push", "file:shelf", "dist")
    assert (done.status, "No space left on device" in done.err) == (1, True)
    assert contents(folder.root / "shelf") == {}


def test_names_that_differ_in_case_only(folder, published):
    recipe = published.recipe.read_text().replace(
        '[targets.start]\nlayout = "llamafile"', '[targets.Plain]\nlayout = "gguf"'
    )
    for name in ("model.gguf",):
        shutil.copy(published.root / name, folder.root / name)
    folder.write_recipe(recipe)
    folder.run("lock").assert_success()
    folder.run("build", "-o", "two").assert_success()
    done = folder.run("push", "file:shelf", "two")
    assert (done.status, "would have the same names where case does not count" in done.err) == (2, True), done.err


def test_a_bundle_that_is_named_twice(folder):
    done = folder.run("push", "file:shelf", f"dist/{PLAIN}", f"dist/{PLAIN}")
    assert (done.status, "name each bundle once" in done.err) == (2, True), done.err


@pytest.mark.parametrize("place", ["{tmp}/shelf", "../beside/shelf", "shelf"])
def test_a_folder_is_named_as_on_any_command_line(folder, tmp_path, place):
    place = place.format(tmp=tmp_path)
    folder.run("push", f"file:{place}", "dist").assert_success()
    folder.run("pull", f"file:{place}", "-o", "back", "--key", "release.pub").assert_success()
    folder.run("pull", f"file:{place}/tiny-1-start.lftool", "-o", "one", "--key", "release.pub").assert_success()
    assert contents(folder.root / "back") == contents(folder.root / "dist")
    assert list(contents(folder.root / "one")) == [START]


def test_what_is_published_later_comes_with_the_next_pull(folder):
    folder.run("push", "file:shelf", f"dist/{PLAIN}").assert_success()
    (folder.root / "shelf" / "README.md").write_text("one")
    folder.run("pull", "file:shelf", "-o", "back").assert_success()
    folder.run("push", "file:shelf", f"dist/{START}").assert_success()
    (folder.root / "shelf" / "README.md").write_text("two")
    folder.run("pull", "file:shelf", "-o", "back").assert_success()
    assert contents(folder.root / "back") == contents(folder.root / "dist")


@pytest.mark.parametrize("suffix", ["gguf", "runtime", "lftool"])
def test_no_file_of_the_user_s_is_replaced(folder, suffix):
    folder.run("push", "file:shelf", f"dist/{START}").assert_success()
    (folder.root / "back").mkdir()
    mine = folder.root / "back" / f"tiny-1-start.{suffix}"
    mine.write_text("mine")
    done = folder.run("pull", "file:shelf", "-o", "back", "--detached")
    assert (done.status, f"{mine.name} already exists, and is another file" in done.err) == (2, True), done.err
    assert contents(folder.root / "back") == {mine.name: b"mine"}
    folder.run("pull", "file:shelf", "-o", "back", "--detached", "--force").assert_success()
    assert mine.read_bytes() == (folder.root / "shelf" / mine.name).read_bytes()


def test_a_bundle_with_other_signatures_is_another_file(folder, published):
    folder.run("push", "file:shelf", f"dist/{PLAIN}").assert_success()
    folder.run("pull", "file:shelf", "-o", "back").assert_success()
    shutil.copy(published.root / "other.key", folder.root / "other.key")
    folder.run("sign", f"back/{PLAIN}", "--sign-key", "other.key").assert_success()
    done = folder.run("pull", "file:shelf", "-o", "back")
    assert (done.status, "already exists, and is another file" in done.err) == (2, True), done.err
    folder.run("pull", "file:shelf", "-o", "back", "--force").assert_success()
    assert contents(folder.root / "back") == {PLAIN: (folder.root / "dist" / PLAIN).read_bytes()}


def test_a_bundle_under_another_name_is_told(folder):
    folder.run("push", "file:shelf", f"dist/{PLAIN}").assert_success()
    for suffix in ("gguf", "lftool"):
        (folder.root / "shelf" / f"tiny-1-plain.{suffix}").rename(folder.root / "shelf" / f"tiny-2-plain.{suffix}")
    done = folder.run("pull", "file:shelf", "-o", "back", "--key", "release.pub").assert_success()
    assert "tiny-2-plain.lftool is the bundle tiny-1-plain, under another name" in done.err


def test_a_name_that_lftool_uses_itself(folder):
    folder.run("push", "file:shelf/.lftool-pull", f"dist/{PLAIN}").assert_success()
    done = folder.run("pull", "file:shelf", "-o", "back", "--include", "**/*.gguf", "--include", "**/*.lftool")
    assert done.status in {1, 2}, done.err
    assert not (folder.root / "back").exists()


def test_two_pulls_into_one_folder_wait_for_each_other(folder):
    folder.run("push", "file:shelf", "dist").assert_success()
    command = [sys.executable, "-m", "lftool.cli.entry", "pull", "file:shelf", "-o", "back", "--target"]
    running = [
        subprocess.Popen([*command, target], cwd=folder.root, env=folder.environment, stderr=subprocess.PIPE)
        for target in ("plain", "start", "plain")
    ]
    assert [process.communicate()[1] and process.returncode for process in running] == [0, 0, 0]
    assert contents(folder.root / "back") == contents(folder.root / "dist")


@pytest.mark.parametrize(
    ("command", "uri", "says"),
    [
        ("pull", "", "'' has no scheme"),
        ("pull", "dist", "'dist' has no scheme"),
        ("push", "file://shelf", "names no folder"),
        ("push", "oci://127.0.0.1:99999/a:1", "expected oci://REGISTRY/REPOSITORY:TAG"),
        (
            "pull",
            "https://me:word@host.example/a.gguf",
            "error: user information is refused: others could read it in logs and lists of processes\n",
        ),
        (
            "pull",
            "https://host.example/a.gguf?token=1",
            "error: a query string is refused: others could read it in logs and lists of processes\n",
        ),
        (
            "pull",
            "https://127.0.0.1:99999/a.gguf",
            "'https://127.0.0.1:99999/a.gguf' is not a valid URI: Port out of range",
        ),
        ("pull", "file:nothing.gguf", "error: file:nothing.gguf: there is no such file or folder\n"),
        ("pull", "oci://127.0.0.1:99999/a:1", "expected oci://REGISTRY/REPOSITORY:TAG"),
        ("push", "oci://me:hunter2@127.0.0.1:9/a:1", "a user name in the address is refused"),
    ],
)
def test_a_wrong_address(folder, command, uri, says):
    done = folder.run(command, uri, *(["dist"] if command == "push" else ["-o", "back"]))
    assert (done.status, says in done.err, "hunter2" in done.err) == (2, True, False), done.err
    assert not (folder.root / "back").exists()


def test_a_place_that_does_not_answer_is_called_by_its_address(folder):
    done = folder.run("pull", "http://127.0.0.1:1/a.gguf", "-o", "back", env={"LFTOOL_FETCH_ATTEMPTS": "1"})
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: http://127.0.0.1:1/a.gguf: gave up; the last one: http://127.0.0.1:1/a.gguf: ")


def test_an_option_of_another_destination(folder):
    done = folder.run("push", "file:shelf", "dist", "--docker")
    assert (done.status, "--docker: a push to file: has no such option" in done.err) == (2, True), done.err


def test_a_sidecar_at_a_url_brings_what_lies_beside_it(folder):
    folder.run("push", "file:shelf", "dist").assert_success()
    with FileServer(files={f"/{name}": data for name, data in contents(folder.root / "shelf").items()}) as server:
        for stem in ("tiny-1-plain", "tiny-1-start"):
            folder.run("pull", f"{server.url}/{stem}.lftool", "-o", "back", "--key", "release.pub").assert_success()
        missing = dict(server.files)
        del missing["/tiny-1-start.runtime"]
        server.files = missing
        done = folder.run("pull", f"{server.url}/tiny-1-start.lftool", "-o", "other")
        assert (done.status, "tiny-1-start.runtime returned 404" in done.err) == (1, True), done.err
    assert contents(folder.root / "back") == contents(folder.root / "dist")
    assert not (folder.root / "other").exists()


def test_a_bundle_at_a_url(folder):
    with FileServer(files={"/a.gguf": (folder.root / "dist" / PLAIN).read_bytes()}) as server:
        folder.run("pull", f"{server.url}/a.gguf", "-o", "back", "--key", "release.pub").assert_success()
        refused = folder.run("pull", f"{server.url}/a.gguf", "-o", "back", "--key", "other.pub")
    assert (refused.status, list(contents(folder.root / "back"))) == (5, ["a.gguf"])


class TestBucket:
    """A bucket of OpenStack Swift, through its S3 API."""

    @pytest.fixture
    def bucket(self, swift):
        return new_bucket(swift)

    @pytest.fixture
    def lftool(self, folder, swift):
        def run(*arguments: str, **variables: str):
            return folder.run(
                *arguments, env={**KEYS, "AWS_ENDPOINT_URL": swift, "LFTOOL_FETCH_ATTEMPTS": "1", **variables}
            )

        return run

    def test_bundles_go_and_come_back(self, lftool, bucket, folder):
        first = lftool("push", f"s3://{bucket}/models/", "dist", "--json").assert_success().json()
        again = lftool("push", f"s3://{bucket}/models/", "dist", "--json").assert_success().json()
        assert first["sent"] > again["sent"] == 0
        lftool("pull", f"s3://{bucket}/models/", "-o", "back", "--key", "release.pub").assert_success()
        assert contents(folder.root / "back") == contents(folder.root / "dist")

    def test_another_object_of_a_name_is_not_replaced(self, lftool, bucket, swift):
        store_of(swift, bucket).put(f"models/{PLAIN}", b"mine")
        done = lftool("push", f"s3://{bucket}/models/", "dist")
        assert (done.status, f"{PLAIN} is there already, with other contents" in done.err) == (2, True), done.err
        lftool("push", f"s3://{bucket}/models/", "dist", "--force").assert_success()

    def test_who_may_not_write_is_told_what_to_set(self, lftool, bucket):
        done = lftool("push", f"s3://{bucket}/models/", "dist", AWS_SECRET_ACCESS_KEY="wrong")
        assert (done.status, "s3:PutObject" in done.err) == (1, True), done.err

    def test_an_object_is_no_prefix(self, lftool):
        done = lftool("push", "s3://bucket/model", "dist")
        assert (done.status, "names an object, not a prefix" in done.err) == (2, True), done.err
