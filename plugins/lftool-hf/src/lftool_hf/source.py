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
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lftool.api import (
    Digest,
    FetchError,
    RangeError,
    Resolution,
    SourceFile,
    TransientError,
    UnavailableError,
    UsageError,
    is_chosen,
)
from lftool.api.http import HTTPClient, masked_url
from lftool_hf.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lftool.api import SourceContext, SourceRequest
    from lftool_hf.address import Address

_GIT_HASHES: dict[int, Callable[[bytes], Any]] = {
    40: functools.partial(hashlib.sha1, usedforsecurity=False),
    64: hashlib.sha256,
}
_PASSING = {408, 429, 500, 502, 503, 504}
_SIGN_IN = "set HF_TOKEN to a token with read access, or run `hf auth login`"


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
        from huggingface_hub.constants import ENDPOINT

        if not ENDPOINT.startswith(("https://", "http://")):
            raise UsageError(
                f"HF_ENDPOINT is {ENDPOINT!r}, which has no scheme", hints=(f"write HF_ENDPOINT=https://{ENDPOINT}",)
            )
        with _sorted(uri, address):
            api = HfApi(endpoint=ENDPOINT, token=False, headers=dict(self._headers()))
            return api.repo_info(
                address.repository, revision=address.ref, repo_type=address.kind, files_metadata=True, timeout=60
            )

    def _headers(self) -> Mapping[str, str]:
        """Return the headers for the endpoint's host, and for no other."""
        from huggingface_hub import get_token
        from huggingface_hub.constants import ENDPOINT

        named = self._credentials.named(ENDPOINT)
        if named is not None and named.headers:
            return named.headers
        token = get_token()
        return {} if token is None else {"authorization": f"Bearer {token}"}

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
        return Resolution(revision=info.sha, files=tuple(files))

    def _client(self, uri: str) -> HTTPClient:
        if uri not in self._clients:
            self._clients[uri] = HTTPClient(f"source {uri!r}", headers=self._headers(), hints=(_SIGN_IN,))
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


def _broken_connections() -> type[Exception]:
    """Return what huggingface_hub lets through when it gets no answer: line 0 asks with requests, later ones with httpx2."""
    if metadata.version("huggingface-hub").startswith("0."):
        from requests import RequestException  # noqa: PLC0415 - what is there depends on the line

        return RequestException
    from httpx2 import TransportError

    return TransportError


def _reason(error: BaseException) -> str:
    """Return what the system says of a connection: what is around it repeats addresses, attempts and request ids."""
    found: str | None = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
            found = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return found or type(error).__name__


@contextlib.contextmanager
def _sorted(uri: str, address: Address) -> Iterator[None]:
    """Turn huggingface_hub's errors into ours; its own messages hold URLs and request ids, ours what to do."""
    from huggingface_hub import errors

    what, broken = f"source {uri!r}", _broken_connections()
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise UnavailableError(
            f"{what}: HF_HUB_OFFLINE is set, so lftool does not contact the Hub",
            hints=("unset it: env -u HF_HUB_OFFLINE lftool …",),
        ) from error
    except errors.GatedRepoError as error:
        raise FetchError(
            f"{what}: {address.repository} is gated: you must accept its terms first",
            hints=("accept them on the repository's page", _SIGN_IN),
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FetchError(f"{what}: {address.repository} has no revision {address.ref!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise FetchError(
            f"{what}: there is no {address.kind} {address.repository}, or it is private", hints=(_SIGN_IN,)
        ) from error
    except errors.HfHubHTTPError as error:
        answer: Any = error.response
        status = answer.status_code
        if status in _PASSING:
            raise TransientError(f"the Hub returned {status}") from error
        raise FetchError(
            f"{what}: the Hub returned {status}", hints=(_SIGN_IN,) if status in {401, 403} else ()
        ) from error
    except broken as error:
        from huggingface_hub.constants import ENDPOINT

        raise TransientError(f"the Hub cannot be reached at {masked_url(ENDPOINT)}: {_reason(error)}") from error
