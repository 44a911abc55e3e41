"""Upload blobs and manifests (OCI distribution-spec v1.1, "Push"): what is missing, in chunks that can be resumed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

from attrs import define

from lftool.api import FetchError, TransientError, UnavailableError, printable
from lftool_oci.artifacts import digest_of, with_referrer
from lftool_oci.registry import INDEX, INDEXES, MANIFESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.api import Uploading
    from lftool.api.http import HTTPAnswer
    from lftool_oci.artifacts import Blob, Document
    from lftool_oci.registry import Registry

_MIB = 1024 * 1024
_CHUNK = 64 * _MIB
# Documented: what GitHub's registry takes at once is less than a chunk of ours, and Google's takes no chunks.
_AT_ONCE = re.compile(r"(?:ghcr\.io|gcr\.io|.*\.gcr\.io|.*\.pkg\.dev)\Z")
# Largest layers, in bytes, with their source.
_LIMITS = (
    (re.compile(r"ghcr\.io\Z"), 10 * 10**9, "docs.github.com, Working with the Container registry"),
    (re.compile(r"public\.ecr\.aws\Z"), 10_000 * _MIB, "docs.aws.amazon.com, Amazon ECR Public quotas"),
    (re.compile(r".*\.dkr\.ecr\..*\.amazonaws\.com\Z"), 52_000 * _MIB, "docs.aws.amazon.com, Amazon ECR quotas"),
    (re.compile(r".*\.azurecr\.io\Z"), 200 * 1024 * _MIB, "learn.microsoft.com, Container registry SKUs"),
)
_MOST_ATTEMPTS_WHOLE = 2
_READ_ONLY = 405
_TOO_LARGE = 413
_NOT_FOUND = 404
_UNSATISFIABLE = 416
_REFUSED = frozenset({400, 401, 403, 404, 405, 413, 416, 422})
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)\Z")
_MOST_REASON = 300


def require_limits(registry: str, blobs: tuple[Blob, ...]) -> None:
    """Raise UnavailableError if a registry is known not to take a blob of this size."""
    host = registry.partition(":")[0].lower()
    for pattern, most, source in _LIMITS:
        if not pattern.match(host):
            continue
        for blob in blobs:
            if blob.size > most:
                raise UnavailableError(
                    f"{blob.name} has {blob.size} bytes, and {host} takes layers of at most {most} ({source})",
                    hints=("push it to a registry without that limit, or a smaller quantisation",),
                )


def chunk_size(registry: str, wanted: int | None) -> int:
    """Return the size of chunks in bytes; 0 sends each blob at once.

    Args:
        registry: The registry.
        wanted: What the user asks for, in MiB; None for what suits the registry.
    """
    if wanted is not None:
        return wanted * _MIB
    return 0 if _AT_ONCE.match(registry.partition(":")[0].lower()) else _CHUNK


@define(kw_only=True)
class _Place:
    """Where an upload goes on, and how many bytes the registry has; None if it has to be asked."""

    location: str
    received: int | None


class _Lost(Exception):  # noqa: N818 - a signal, not an error
    """The registry has forgotten an upload, or does not take its chunks."""


class Uploader:
    """Uploads into one repository. Threads may share it.

    Args:
        registry: The repository.
        uploading: Progress and attempts.
        chunk: Size of chunks in bytes; 0 sends each blob at once.
        mount: Another repository of the registry that may have the blobs; None for none.
    """

    def __init__(self, registry: Registry, uploading: Uploading, chunk: int, mount: str | None) -> None:
        self._registry, self._uploading = registry, uploading
        self._chunk, self._mount = chunk, mount
        self._base = registry.reference.base

    def blob(self, blob: Blob) -> int:
        """Make sure that the repository has a blob; return how many bytes were sent.

        Raises:
            FetchError: The registry does not accept it.
        """
        what = f"{self._registry.what}: {blob.name}"
        if self._uploading.retried(lambda: self._has(blob), what):
            return 0
        if self._mount is not None and self._uploading.retried(lambda: self._mounted(blob), what):
            return 0
        with self._uploading.sending(blob.name, blob.size) as so_far:
            if not (0 < self._chunk < blob.size and self._in_chunks(blob, so_far, what)):
                self._uploading.retried(lambda: self._at_once(blob, so_far), what)
        if not self._uploading.retried(lambda: self._has(blob), what):
            raise FetchError(f"{what}: the registry took it, and does not have it", hints=("try again",))
        return blob.size

    def _has(self, blob: Blob) -> bool:
        url = f"{self._base}/blobs/{blob.digest}"
        answer = self._registry.client.ask(url, method="HEAD", most=None, accept=frozenset({200, _NOT_FOUND}))
        if answer.status == _NOT_FOUND:
            return False
        if answer.size is not None and answer.size != blob.size:
            raise FetchError(
                f"{self._registry.what}: {blob.name}: the registry says that it has {answer.size} bytes, expected {blob.size}",
                hints=("its copy is damaged: ask who runs the registry",),
            )
        self._require_digest(answer, blob.digest, blob.name)
        return True

    def _require_digest(self, answer: HTTPAnswer, digest: str, name: str) -> None:
        said = answer.headers.get("docker-content-digest", digest)
        if said != digest:
            raise FetchError(f"{self._registry.what}: {name}: the registry says that it is {said}, expected {digest}")

    def _send(self, method: str, url: str, content: Any = b"", **more: Any) -> HTTPAnswer:  # noqa: ANN401 - as HTTPClient.send
        """Send something; refusals are turned into errors that say why.

        Raises:
            FetchError: The registry does not accept it.
        """
        headers = more.pop("headers", {})
        accept = more.pop("accept", frozenset({200, 201, 202, 204}))
        answer = self._registry.client.send(method, url, content, headers=headers, accept=accept | _REFUSED, **more)
        if answer.status in accept:
            return answer
        raise self._refusal(answer)

    def _refusal(self, answer: HTTPAnswer) -> FetchError:
        registry, status = self._registry, answer.status
        reason = _reason(answer.body)
        said = f": {reason}" if reason else ""
        scope = f"repository:{registry.reference.repository}:pull,push"
        if status in {401, 403}:
            return FetchError(
                f"{registry.what}: the registry returned {status}{said}; a push needs the scope {scope}",
                hints=(*registry.hints, "or give the token the right to write packages"),
            )
        if status == _READ_ONLY:
            return FetchError(f"{registry.what}: the registry takes no uploads (405){said}")
        if status == _TOO_LARGE:
            return FetchError(
                f"{registry.what}: the registry takes no upload of this size (413){said}",
                hints=("send smaller chunks: --chunk MIB",),
            )
        return FetchError(f"{registry.what}: the registry returned {status}{said}")

    def _begin(self, query: str = "") -> tuple[str | None, HTTPAnswer]:
        """Begin an upload; return where it goes on, or None if a mount has made it unnecessary."""
        answer = self._send("POST", f"{self._base}/blobs/uploads/{query}")
        if answer.status == 201:  # noqa: PLR2004 - created: mounted
            return None, answer
        return self._location(answer, f"{self._base}/blobs/uploads/"), answer

    def _location(self, answer: HTTPAnswer, base: str) -> str:
        found = answer.headers.get("location")
        if not found:
            raise FetchError(f"{self._registry.what}: the registry did not say where to upload")
        url = urljoin(base, found)
        if url.partition("://")[0] == "http" and self._base.startswith("https:"):
            raise FetchError(f"{self._registry.what}: the registry asks to upload without encryption, which is refused")
        return url

    def _mounted(self, blob: Blob) -> bool:
        query = f"?mount={blob.digest}&from={quote(self._mount or '', safe='')}"
        location, _ = self._begin(query)
        return location is None

    def _at_once(self, blob: Blob, so_far: Callable[[int], None]) -> None:
        location, _ = self._begin()
        if location is None:
            return
        self._finish(location, blob, lambda: _counted(blob.content(0, blob.size), 0, so_far), blob.size)

    def _finish(self, location: str, blob: Blob, content: Any, size: int) -> None:  # noqa: ANN401 - as HTTPClient.send
        url = f"{location}{'&' if '?' in location else '?'}digest={blob.digest}"
        answer = self._send("PUT", url, content, size=size, accept=frozenset({200, 201, 204}))
        self._require_digest(answer, blob.digest, blob.name)

    def _in_chunks(self, blob: Blob, so_far: Callable[[int], None], what: str) -> bool:
        """Upload in chunks. After a failure, go on where the registry is; start over once if it has forgotten.

        Returns:
            Whether the blob is there; else the registry does not take chunks.
        """
        for _ in range(_MOST_ATTEMPTS_WHOLE):
            location, answer = self._uploading.retried(self._begin, what)
            if location is None:
                return True
            least = answer.headers.get("oci-chunk-min-length", "")
            chunk = max(self._chunk, int(least) if least.isascii() and least.isdigit() else 0)
            place = _Place(location=location, received=0)
            try:
                self._all_chunks(blob, place, chunk, so_far, what)
            except _Lost:
                continue
            return True
        return False

    def _all_chunks(self, blob: Blob, place: _Place, chunk: int, so_far: Callable[[int], None], what: str) -> None:
        while place.received is None or place.received < blob.size:
            self._uploading.retried(lambda: self._next(blob, place, chunk, so_far), what)
        self._uploading.retried(lambda: self._finish(place.location, blob, b"", 0), what)

    def _next(self, blob: Blob, place: _Place, chunk: int, so_far: Callable[[int], None]) -> None:
        """Send the next chunk. What a registry has is asked for after every failure: some ignore a chunk's range."""
        if place.received is None:
            self._find_out(place)
        start = place.received or 0
        size = min(chunk, blob.size - start)
        place.received = None
        answer = self._registry.client.send(
            "PATCH",
            place.location,
            lambda: _counted(blob.content(start, size), start, so_far),
            size=size,
            headers={"content-range": f"{start}-{start + size - 1}"},
            accept=frozenset({201, 202, 204}) | _REFUSED,
        )
        if answer.status in {401, 403, _TOO_LARGE}:
            raise self._refusal(answer)
        if answer.status in _REFUSED:
            raise _Lost
        place.location = self._location(answer, place.location)
        place.received = min(_received(answer) or start + size, blob.size)

    def _find_out(self, place: _Place) -> None:
        """Ask where an upload goes on, and how many bytes the registry has.

        Raises:
            _Lost: It has forgotten the upload, or does not say.
        """
        try:
            answer = self._registry.client.ask(place.location, most=None, accept=frozenset({200, 202, 204}))
        except TransientError:
            raise
        except FetchError:
            raise _Lost from None
        if "location" in answer.headers:
            place.location = self._location(answer, place.location)
        place.received = _received(answer)
        if place.received is None:
            raise _Lost

    def document(self, document: Document, reference: str | None = None) -> bool:
        """Push a manifest or an index by its digest, or under a tag; return whether it said that it knows referrers."""
        url = f"{self._base}/manifests/{reference or document.digest}"
        answer = self._uploading.retried(
            lambda: self._send(
                "PUT",
                url,
                document.data,
                headers={"content-type": document.media_type},
                accept=frozenset({200, 201, 202, 204}),
            ),
            f"{self._registry.what}: {document.name}",
        )
        self._require_digest(answer, document.digest, document.name)
        return "oci-subject" in answer.headers

    def refer(self, document: Document) -> None:
        """Push a referrer; where the registry has no list of referrers, keep one under the tag for it.

        Source: distribution-spec v1.1, "Pushing Manifests with Subject" and "Referrers Tag Schema".
        """
        if self.document(document) or document.subject is None:
            return
        if self._lists_referrers(document.subject):
            return
        tag = document.subject.replace(":", "-")
        found = self._registry.find(tag)
        if found is not None and "manifests" not in found[2]:
            raise FetchError(f"{self._registry.what}: the tag {tag} is not a list of referrers")
        data = with_referrer(None if found is None else found[2], document)
        if data is not None:
            self._put_index(tag, data)

    def _put_index(self, tag: str, data: bytes) -> None:
        answer = self._send(
            "PUT",
            f"{self._base}/manifests/{tag}",
            data,
            headers={"content-type": INDEX},
        )
        self._require_digest(answer, digest_of(data), "list of referrers")

    def _lists_referrers(self, subject: str) -> bool:
        url = f"{self._base}/referrers/{subject}"
        answer = self._registry.client.ask(url, accept=frozenset({200, 400, _NOT_FOUND, _READ_ONLY}))
        return answer.status == 200  # noqa: PLR2004 - OK

    def tagged(self, tag: str) -> str | None:
        """Return the digest that a tag names now; None if there is none."""
        url = f"{self._base}/manifests/{tag}"
        accept = {"accept": ", ".join((*MANIFESTS, *INDEXES))}
        what = f"{self._registry.what}: tag {tag}"
        answer = self._uploading.retried(
            lambda: self._registry.client.ask(url, headers=accept, accept=frozenset({200, _NOT_FOUND})), what
        )
        return None if answer.status == _NOT_FOUND else digest_of(answer.body)


def _counted(pieces: Iterator[bytes], start: int, so_far: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        start += len(piece)
        so_far(start)


def _received(answer: HTTPAnswer) -> int | None:
    """Return how many bytes a registry says that it has; None if it does not say."""
    match = _RANGE.match(answer.headers.get("range", ""))
    return int(match[1]) + 1 if match and int(match[1]) else None  # 0-0 is also said of nothing


def _reason(body: bytes) -> str:
    """Return the registry's own words from an error response (distribution-spec, "Error Codes")."""
    try:
        error = json.loads(body)["errors"][0]
        text = f"{error.get('code', '')} {error.get('message', '')}".strip()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        text = body[:_MOST_REASON].decode("utf-8", "replace").strip() if not body.startswith(b"<") else ""
    return printable(text[:_MOST_REASON])
