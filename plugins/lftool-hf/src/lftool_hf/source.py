"""Ask the Hub what a repository holds, and read its files by URL.

huggingface_hub knows the API, tokens and errors. It checks no sha256 and resumes nothing across processes (seen with
2.4.0), so the bytes go through lftool's own client. Its line 0.36 does as well: transformers 4.57, which llama.cpp's conversion
scripts need, asks for it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from typing import TYPE_CHECKING, Any

from lftool.api import (
    Digest,
    FetchError,
    RangeError,
    Resolution,
    SourceFile,
    TransientError,
    is_chosen,
)
from lftool.api.http import HTTPClient
from lftool_hf.address import parse_address
from lftool_hf.hub import SIGN_IN, endpoint, headers_for_hub, sorted_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from lftool.api import SourceContext, SourceRequest
    from lftool_hf.address import Address

_GIT_HASHES: dict[int, Callable[[bytes], Any]] = {
    40: functools.partial(hashlib.sha1, usedforsecurity=False),
    64: hashlib.sha256,
}


class HuggingFaceSource:
    """Reads repositories at the endpoint that the user names (`HF_ENDPOINT`), else the Hub's own.

    The credential is what the user's credentials.toml names for that host, else `HF_TOKEN` or the token file of `hf auth
    login`. It is handed over explicitly: nothing of a recipe decides where it goes.
    """

    def __init__(self, context: SourceContext) -> None:
        self._credentials = context.credentials
        self._small: dict[tuple[str, str], str] = {}  # (commit, path) to the id of a file that is no LFS object
        self._clients: dict[str, HTTPClient] = {}

    def _files(self, address: Address, uri: str) -> Any:  # noqa: ANN401 - huggingface_hub's own value
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it reads this when it is imported
        from huggingface_hub import HfApi

        hub = endpoint()
        with sorted_errors(f"source {uri!r}", address):
            api = HfApi(endpoint=hub, token=False, headers=dict(headers_for_hub(self._credentials)))
            return api.repo_info(
                address.repository, revision=address.ref, repo_type=address.kind, files_metadata=True, timeout=60
            )

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the commit that the ref names now, and its files.

        Raises:
            RecipeError: The URI is wrong.
            TransientError: The Hub does not answer, for now.
            FetchError: No such repository, revision or file, or no right to it.
        """
        address = parse_address(request.uri)
        info = self._files(address, request.uri)
        files = []
        for item in info.siblings or ():
            if address.holds(item.rfilename) and is_chosen(item.rfilename, request.include, request.exclude):
                sha256 = Digest(item.lfs.sha256) if item.lfs else None
                if item.lfs is None and item.blob_id is not None:
                    self._small[info.sha, item.rfilename] = item.blob_id
                files.append(
                    SourceFile(path=item.rfilename, size=item.lfs.size if item.lfs else item.size, sha256=sha256)
                )
        if not files:
            what = f"below {address.path!r}" if address.path else "that matches include and exclude"
            raise FetchError(f"source {request.uri!r}: {address.repository} has no file {what}")
        gated = bool(getattr(info, "gated", False))  # "auto" or "manual": who approves
        return Resolution(revision=info.sha, files=tuple(files), gated=gated)

    def _client(self, uri: str) -> HTTPClient:
        if uri not in self._clients:
            self._clients[uri] = HTTPClient(
                f"source {uri!r}", headers=headers_for_hub(self._credentials), hints=(SIGN_IN,)
            )
        return self._clients[uri]

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return a file's bytes; large ones are redirected to another host, which never sees the token."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.constants import ENDPOINT

        address = parse_address(request.uri)
        url = hf_hub_url(address.repository, file.path, repo_type=address.kind, revision=revision, endpoint=ENDPOINT)
        named = self._small.get((revision, file.path))
        if named is None:
            return self._client(request.uri).read(url, offset=offset, size=size, whole=file.size)
        if size is not None and (offset, size) != (0, file.size):
            raise RangeError(f"{file.path} is checked as a whole")
        return self._checked(request.uri, url, file, named)

    @contextlib.contextmanager
    def _checked(self, uri: str, url: str, file: SourceFile, named: str) -> Iterator[Iterator[bytes]]:
        """Yield a file's bytes, and raise at their end unless they have the git object id that the Hub names.

        The Hub vouches for no sha256 of such files; what is pinned is what arrives.
        """
        with self._client(uri).read(url, whole=file.size) as pieces:
            yield _of_object(pieces, file, named)


def _of_object(pieces: Iterator[bytes], file: SourceFile, named: str) -> Iterator[bytes]:
    """Yield pieces; the id of a git object is the digest of a header with its size, and its content (git hash-object)."""
    if file.size is None or len(named) not in _GIT_HASHES:
        yield from pieces
        return
    state = _GIT_HASHES[len(named)](b"blob %d\0" % file.size)
    for piece in pieces:
        state.update(piece)
        yield piece
    if state.hexdigest() != named:
        raise TransientError(f"{file.path} arrived damaged: expected git object {named}, got {state.hexdigest()}")
