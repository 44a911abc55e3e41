"""HTTP responses: what they say about a file, and whether they match the request."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from lftool.errors import ChangedError, FetchError, RangeError, TransientError

_PARTIAL = 206
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
_WHOLE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+|\*)\Z")
_HTML = "text/html"


def masked_url(url: str) -> str:
    """Return a URL for messages, without user information, query and fragment, which may hold credentials."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL. The port defaults to the scheme's."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


@frozen(kw_only=True)
class HTTPAnswer:
    """A server's response.

    Attributes:
        status: The status code.
        url: The URL that answered, after redirects. It may hold credentials: never print or store it.
        headers: Headers of this response, by lower-case name.
        first_headers: Headers of the first response, which is another one if there were redirects.
        body: The body, if it was read.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    first_headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int | None:
        """The size of the whole file in bytes, if the response contains it."""
        whole = _WHOLE.match(self.headers.get("content-range", ""))
        text = whole[1] if whole else self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def version(self) -> str | None:
        """The version of the file: its ETag, else the time of its last change."""
        return self.headers.get("etag") or self.headers.get("last-modified")


def retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 §10.2.3); None if it is missing or unreadable."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def check_encoding(answer: HTTPAnswer, what: str, encodings: Collection[str]) -> None:
    """Raise FetchError if a body has a content encoding that the client does not accept."""
    found = answer.headers.get("content-encoding", "identity")
    if found != "identity" and found not in encodings:
        raise FetchError(f"{what}: {masked_url(answer.url)} sent the file in encoding {found}, which was not requested")


def check_version(answer: HTTPAnswer, whole: int | None, version: str | None) -> None:
    """Raise unless a response has the expected version and size; see `HTTPClient.read`."""
    where = masked_url(answer.url)
    if version is not None:
        found = [answer.headers[name] for name in ("etag", "last-modified") if name in answer.headers]
        if version not in found and (found or answer.status == _PARTIAL):
            got = found[0] if found else "none"
            raise ChangedError(f"{where} has changed: expected version {version}, got {got}")
    if whole is not None and answer.size is not None and answer.size != whole:
        if answer.headers.get("content-type", "").startswith(_HTML):
            raise TransientError(f"{where} returned an HTML page instead of the file")
        raise ChangedError(f"{where} has changed: expected {whole} bytes, got {answer.size}")


def check_extent(answer: HTTPAnswer, part: tuple[int, int | None] | None) -> None:
    """Raise unless a response has the requested part (offset, size), or the whole file; see `HTTPClient.read`."""
    where = masked_url(answer.url)
    if part is None:
        if answer.status == _PARTIAL:
            raise TransientError(f"{where} sent a part, though the whole was asked for")
        return
    offset, size = part
    if answer.status != _PARTIAL:
        raise RangeError(f"{where} sent the whole file, though a part was asked for")
    match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    if match is None or int(match[1]) != offset or (size is not None and int(match[2]) != offset + size - 1):
        got = answer.headers.get("content-range", "no range")
        raise RangeError(f"{where} sent {got}, though another part was asked for")


def lower_names(headers: Any) -> dict[str, str]:  # noqa: ANN401 - httpx2 headers
    """Return headers by lower-case name."""
    return {name.lower(): value for name, value in headers.items()}
