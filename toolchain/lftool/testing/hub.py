"""A small Hugging Face Hub on this machine, for tests with the real `huggingface_hub`.

It supports what that client needs to read a repository, `repo_info` and `resolve`, and to write one, `create_commit`
with LFS. Large files (LFS) are redirected to another port, as the real Hub redirects them to another host. Gated and
private repositories, and writing, require the token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from attrs import Factory, define

from lftool.testing.file_server import FileServer
from lftool.testing.loopback import LoopbackServer

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from types import TracebackType
    from typing import Self

LFS_BYTES = 100_000
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/revision/([^/?]+))?\Z")
_PREUPLOAD = re.compile(r"/api/models/([^/]+/[^/]+)/preupload/([^/?]+)\Z")
_COMMIT = re.compile(r"/api/models/([^/]+/[^/]+)/commit/([^/?]+)\Z")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch\Z")
_UPLOAD = re.compile(r"/upload/([0-9a-f]{64})\Z")
_RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)\Z")


def _object_id(data: bytes) -> str:
    """Return the id of a git object, as `git hash-object` gives it."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@define
class Repository:
    """A repository: commits by 40-hex name, refs, and who may read it."""

    commits: dict[str, dict[str, bytes]] = Factory(dict)
    digests: dict[int, str] = Factory(dict)
    refs: dict[str, str] = Factory(dict)
    private: bool = False
    gated: bool = False
    messages: list[str] = Factory(list)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Add a commit, point `ref` to it, and return its name."""
        state = hashlib.sha1(str(len(self.commits)).encode(), usedforsecurity=False)
        for path in sorted(files):
            state.update(path.encode() + files[path])
        name = state.hexdigest()
        self.commits[name], self.refs[ref] = dict(files), name
        return name

    def sha256(self, data: bytes) -> str:
        """Return the digest of a file in any commit. Each file is hashed once."""
        if id(data) not in self.digests:
            self.digests[id(data)] = hashlib.sha256(data).hexdigest()
        return self.digests[id(data)]


@define(eq=False)
class HubServer(LoopbackServer):
    """The server. Set `HF_ENDPOINT` to `url`.

    Attributes:
        repositories: By kind and name, such as `models/org/repo`.
        token: The token for private and gated repositories.
        large: Serves large files.
        large_url: Where clients are redirected for large files, if not to `large` itself.
        damaged: Paths of small files that arrive with one bit changed.
        uploaded: Large files that were uploaded, by digest.
        read_only: Whether the token may only read.
    """

    repositories: dict[str, Repository] = Factory(dict)
    token: str = "hf_secret_token"  # noqa: S105 - of a server in a test
    large_url: str = ""
    large: FileServer = Factory(FileServer)
    damaged: set[str] = Factory(set)
    uploaded: dict[str, bytes] = Factory(dict)
    read_only: bool = False

    def __enter__(self) -> Self:
        self.large.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.large.__exit__(kind, value, trace)
        super().__exit__(kind, value, trace)

    def repository(self, name: str, kind: str = "models") -> Repository:
        """Return a repository. Creates it if needed."""
        return self.repositories.setdefault(f"{kind}/{name}", Repository())

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = handler.path.partition("?")[0]
        api, resolve = _API.match(path), _RESOLVE.match(path)
        if handler.command in {"POST", "PUT"}:
            self._write(handler, path)
        elif api:
            self._info(handler, f"{api[1]}/{api[2]}", unquote(api[3] or "main"))
        elif resolve:
            kind = "datasets" if resolve[1] else "models"
            self._file(handler, f"{kind}/{resolve[2]}", unquote(resolve[3]), unquote(resolve[4]))
        else:
            self._error(handler, 404, "EntryNotFound")

    def _error(self, handler: BaseHTTPRequestHandler, status: int, code: str) -> None:
        self._send(handler, status, {"x-error-code": code, "x-error-message": code}, b"{}")

    def _send(self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        handler.send_response_only(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def _found(self, handler: BaseHTTPRequestHandler, name: str, ref: str) -> tuple[str, dict[str, bytes]] | None:
        """Return commit and files, or send an error response and return None."""
        known = handler.headers.get("authorization") == f"Bearer {self.token}"
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not known):
            self._error(handler, 404 if known else 401, "RepoNotFound")
            return None
        if repository.gated and not known:
            self._error(handler, 403, "GatedRepo")
            return None
        commit = repository.refs.get(ref, ref)
        if commit not in repository.commits:
            self._error(handler, 404, "RevisionNotFound")
            return None
        return commit, repository.commits[commit]

    def _write(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        """Answer a request that writes. Everything but the upload of a large file needs the token."""
        body = self._body(handler)
        upload = _UPLOAD.match(path)
        if upload:
            if hashlib.sha256(body).hexdigest() != upload[1]:
                self._error(handler, 400, "BadDigest")
                return
            self.uploaded[upload[1]] = body
            self._send(handler, 200, {}, b"")
            return
        if path == "/api/validate-yaml":
            self._json(handler, {"errors": [], "warnings": []})
            return
        found = _PREUPLOAD.match(path) or _COMMIT.match(path) or _BATCH.match(path)
        repository = self.repositories.get(f"models/{found[1]}") if found else None
        if handler.headers.get("authorization") != f"Bearer {self.token}":
            self._error(handler, 401, "RepoNotFound")
        elif found is None or repository is None:
            self._error(handler, 404, "RepoNotFound")
        elif self.read_only:
            self._error(handler, 403, "Forbidden")
        elif found.re is _PREUPLOAD:
            files = [
                {
                    "path": item["path"],
                    "uploadMode": "lfs" if item["size"] > LFS_BYTES else "regular",
                    "shouldIgnore": False,
                }
                for item in json.loads(body)["files"]
            ]
            self._json(handler, {"files": files})
        elif found.re is _BATCH:
            self._json(
                handler, {"transfer": "basic", "objects": [self._object(item) for item in json.loads(body)["objects"]]}
            )
        else:
            self._take_commit(handler, found[1], unquote(found[2]), body)

    def _object(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return what the LFS batch API says of an object: where to upload it, unless it is there."""
        named = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] in self.uploaded:
            return named
        return {**named, "actions": {"upload": {"href": f"{self.url}/upload/{item['oid']}", "header": {}}}}

    def _take_commit(self, handler: BaseHTTPRequestHandler, name: str, ref: str, body: bytes) -> None:
        repository = self.repositories[f"models/{name}"]
        lines = [json.loads(line) for line in body.splitlines()]
        header, parent = lines[0]["value"], repository.refs.get(ref)
        if header.get("parentCommit") not in {None, parent}:
            self._error(handler, 412, "PreconditionFailed")
            return
        files = dict(repository.commits.get(parent or "", {}))
        for line in lines[1:]:
            value = line["value"]
            lfs = line["key"] == "lfsFile"
            files[value["path"]] = self.uploaded[value["oid"]] if lfs else base64.b64decode(value["content"])
        pull = "create_pr=1" in handler.path
        made = repository.commit(files, ref="refs/pr/1" if pull else ref)
        repository.messages.append(header["summary"])
        url = f"{self.url}/{name}"
        more = {"pullRequestUrl": f"{url}/discussions/1"} if pull else {}
        self._json(handler, {"commitUrl": f"{url}/commit/{made}", "commitOid": made, **more})

    def _body(self, handler: BaseHTTPRequestHandler) -> bytes:
        if handler.headers.get("transfer-encoding") != "chunked":
            return handler.rfile.read(int(handler.headers.get("content-length", 0)))
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return body

    def _json(self, handler: BaseHTTPRequestHandler, value: dict[str, Any]) -> None:
        self._send(handler, 200, {"content-type": "application/json"}, json.dumps(value).encode())

    def _info(self, handler: BaseHTTPRequestHandler, name: str, ref: str) -> None:
        found = self._found(handler, name, ref)
        if found is None:
            return
        siblings = []
        for path, data in sorted(found[1].items()):
            entry: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": _object_id(data)}
            if len(data) > LFS_BYTES:
                sha256 = self.repositories[name].sha256(data)
                entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        body = {
            "id": name.partition("/")[2],
            "sha": found[0],
            "lastModified": "2026-11-24T00:00:00.000Z",
            "createdAt": "2026-11-24T00:00:00.000Z",
            "private": False,
            "gated": "manual" if self.repositories[name].gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }
        self._send(handler, 200, {"content-type": "application/json"}, json.dumps(body).encode())

    def _file(self, handler: BaseHTTPRequestHandler, name: str, ref: str, path: str) -> None:
        found = self._found(handler, name, ref)
        if found is None:
            return
        data = found[1].get(path)
        headers = {"x-repo-commit": found[0]}
        if data is None:
            self._send(handler, 404, {**headers, "x-error-code": "EntryNotFound"}, b"")
        elif len(data) > LFS_BYTES:
            sha256 = self.repositories[name].sha256(data)
            self.large.files[f"/lfs/{sha256}"] = data
            where = {"location": f"{self.large_url or self.large.url}/lfs/{sha256}?signature=secret"}
            linked = {"x-linked-etag": f'"{sha256}"', "x-linked-size": str(len(data))}
            self._send(handler, 302, {**headers, **linked, **where}, b"")
        else:
            delivered = bytes([data[0] ^ 1]) + data[1:] if path in self.damaged else data
            self._send(handler, 200, {**headers, "etag": f'"{_object_id(data)}"'}, delivered)
