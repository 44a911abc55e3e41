"""Answers of HTTP servers: what they say of a file, and whether they are what was asked for."""

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
    """Return a URL for messages: without user information, query and fragment, where credentials stand."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL, the port filled in."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


@frozen(kw_only=True)
class HTTPAnswer:
    """What a server answered.

    Attributes:
        status: The status code.
        url: The URL that answered, after redirects; may hold credentials: never print or store it.
        headers: By lower-case name, of the answer itself.
        first_headers: Of the first answer, which is another one when there were redirects.
        body: The body, where it was read.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    first_headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int | None:
        """The size of the whole file in bytes, if the answer says."""
        whole = _WHOLE.match(self.headers.get("content-range", ""))
        text = whole[1] if whole else self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def version(self) -> str | None:
        """What tells one version of the file from another: the ETag, else the time of its last change."""
        return self.headers.get("etag") or self.headers.get("last-modified")


def retry_after(text: str | None, now: float) -> float | None:
    """Return seconds from a Retry-After header (RFC 9110 §10.2.3); None when there is none that can be read."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def check_encoding(answer: HTTPAnswer, what: str, encodings: Collection[str]) -> None:
    """Raise FetchError when a body arrives in another content encoding than those that the client takes as they are."""
    found = answer.headers.get("content-encoding", "identity")
    if found != "identity" and found not in encodings:
        raise FetchError(
            f"{what}: {masked_url(answer.url)} sends the file in encoding {found}, though that was not asked for"
        )


def check_version(answer: HTTPAnswer, whole: int | None, version: str | None) -> None:
    """Raise unless an answer is of the expected version and size; see `HTTPClient.read`."""
    where = masked_url(answer.url)
    if version is not None:
        found = [answer.headers[name] for name in ("etag", "last-modified") if name in answer.headers]
        if version not in found and (found or answer.status == _PARTIAL):
            got = found[0] if found else "none"
            raise ChangedError(f"{where} has changed: expected version {version}, got {got}")
    if whole is not None and answer.size is not None and answer.size != whole:
        if answer.headers.get("content-type", "").startswith(_HTML):
            raise TransientError(f"{where} answered with a page of HTML instead of the file")
        raise ChangedError(f"{where} has changed: expected {whole} bytes, it announces {answer.size}")


def check_extent(answer: HTTPAnswer, part: tuple[int, int | None] | None) -> None:
    """Raise unless an answer holds the part (offset, size) that was asked for, or the whole; see `HTTPClient.read`."""
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
