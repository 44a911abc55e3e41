"""HTTP for sources: a client that follows redirects by lftool's rules, checks responses, and classifies failures.

Use `HTTPClient` in a source that transfers bytes over HTTP. It never sends a credential to another host, checks ranges
and versions, ends stalls, and tells temporary failures from permanent ones.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from lftool import __version__
from lftool.api.http_answers import (
    HTTPAnswer,
    check_encoding,
    check_extent,
    check_version,
    lower_names,
    masked_url,
    origin_of,
    retry_after,
)
from lftool.api.stalls import HEADER, Pace, header_seconds, stall_seconds
from lftool.errors import ChangedError, FetchError, TransientError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_CONNECT_SECONDS = 15.0
_ANSWER_SECONDS = 600.0
_RECEIVED_AT_ONCE = 256 * 1024
_MOST_REDIRECTS = 10
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_UNAUTHORIZED = 401
_OCTETS = "application/octet-stream"
_AGENT = f"lftool/{__version__}"
_STORED = {200, 201, 202, 204}
_OK, _PARTIAL, _NOT_FOUND, _GONE, _UNSATISFIABLE = 200, 206, 404, 410, 416


def _sendable(headers: Mapping[str, str], what: str) -> dict[str, str]:
    """Return headers, but refuse values that a header cannot have: their text must not appear in an error."""
    for value in headers.values():
        if not (value.isascii() and value.isprintable()):
            raise UnavailableError(
                f"{what}: its credential has characters that cannot be sent",
                hints=("a line break at the end of the variable or file is the usual cause",),
            )
    return dict(headers)


class HTTPClient:
    """A client for one source; threads may share it.

    Args:
        what: What is fetched, for messages, such as `source 'hf://org/repo'`.
        headers: Sent only to the host of the URL that a method is called with.
        hints: What to do if the host denies access (401, 403).
        renew: Called with a 401 response of that host. Returns headers for one more try, or None.
        encodings: Content encodings that a server may use. Bodies are passed on as they arrive, undecoded.
    """

    def __init__(
        self,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        hints: tuple[str, ...] = (),
        renew: Callable[[HTTPAnswer], Mapping[str, str] | None] | None = None,
        encodings: frozenset[str] = frozenset(),
    ) -> None:
        self._what = what
        self._renew = renew
        self._encodings = encodings
        self._headers = _sendable(headers or {}, what)
        self._hints = hints
        self._client: Any = None
        self._stall = stall_seconds()
        self._header_seconds = max(header_seconds(), self._stall)
        self._making = threading.Lock()

    def _connected(self) -> Any:  # noqa: ANN401 - httpx2 is imported when it is used
        with self._making:
            if self._client is None:
                import httpcore2
                import httpx2

                # With the default of 64 KiB, a fast transfer spends a quarter of its time between pieces.
                httpcore2.HTTP11Connection.READ_NUM_BYTES = _RECEIVED_AT_ONCE
                self._client = httpx2.Client(
                    follow_redirects=False,
                    timeout=httpx2.Timeout(self._stall, connect=min(self._stall, _CONNECT_SECONDS), pool=None),
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32),
                )
                weakref.finalize(self, self._client.close)  # a source is never closed
            return self._client

    @contextlib.contextmanager
    def _sorted(self, url: str) -> Iterator[None]:
        """Turn httpx2's errors into ours."""
        import httpx2

        try:
            yield
        except httpx2.LocalProtocolError as error:  # its text repeats what could not be sent
            raise FetchError(f"{masked_url(url)}: the request cannot be sent") from error
        except httpx2.TimeoutException as error:
            raise TransientError(f"{masked_url(url)}: nothing arrived for {self._stall:g} s") from error
        except httpx2.TransportError as error:
            raise TransientError(f"{masked_url(url)}: {_plain(error)}") from error
        except (httpx2.InvalidURL, httpx2.HTTPError) as error:
            raise FetchError(f"{masked_url(url)}: {_plain(error)}") from error

    @contextlib.contextmanager
    def _opened(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[tuple[Any, str, Any]]:
        """Yield the response after all redirects, its URL, and the headers of the first response."""
        client, first, renewed = self._connected(), None, False
        start = origin_of(url)
        for _ in range(_MOST_REDIRECTS + 1):
            mine = self._headers if origin_of(url) == start else {}
            sent = {"user-agent": _AGENT, "accept-encoding": "identity", **mine, **headers}
            with self._sorted(url):
                request = client.build_request(method, url, headers=sent)
                response = self._headers_of(lambda: client.send(request, stream=True), url)  # noqa: B023 - waited for
            try:
                first = response.headers if first is None else first
                if (
                    response.status_code == _UNAUTHORIZED
                    and not renewed
                    and origin_of(url) == start
                    and self._renews(response, url)
                ):
                    renewed = True
                    continue
                target = response.headers.get("location")
                if response.status_code not in _REDIRECTS or target is None:
                    yield response, url, first
                    return
                url = self._redirected(url, target)
            finally:
                with contextlib.suppress(Exception):
                    response.close()
        raise FetchError(f"{self._what}: more than {_MOST_REDIRECTS} redirects, the last to {masked_url(url)}")

    def _headers_of(self, send: Callable[[], Any], url: str) -> Any:  # noqa: ANN401 - an httpx2 response
        """Return a response once its headers have arrived. They have a time limit: sent byte by byte, they never stall.

        Raises:
            FetchError: The headers take longer.
        """
        answer: Queue[tuple[Any, BaseException | None]] = Queue()
        late = threading.Event()

        def wait() -> None:
            try:
                response = send()
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
                answer.put((None, error))
                return
            answer.put((response, None))
            if late.is_set():
                response.close()

        # A daemon: a server that never ends its headers must not keep the process alive.
        threading.Thread(target=wait, daemon=True, name="headers").start()
        try:
            response, error = answer.get(timeout=self._header_seconds)
        except Empty:
            late.set()
            raise FetchError(
                f"{masked_url(url)}: no response headers within {self._header_seconds:g} s",
                hints=(f"if the server is this slow: {HEADER}=SECONDS",),
            ) from None
        if error is not None:
            raise error
        return response

    def _renews(self, response: Any, url: str) -> bool:  # noqa: ANN401 - an httpx2 response
        """Tell whether there are other credentials to try."""
        if self._renew is None:
            return False
        answer = HTTPAnswer(
            status=response.status_code, url=url, headers=lower_names(response.headers), first_headers={}
        )
        headers = self._renew(answer)
        if headers is not None:
            self._headers.update(_sendable(headers, self._what))
        return headers is not None

    def _redirected(self, url: str, target: str) -> str:
        try:
            new = urljoin(url, target)
            scheme, host, _ = origin_of(new)
        except ValueError:
            raise FetchError(f"{self._what}: {masked_url(url)} redirects to an invalid URL") from None
        if not host or scheme not in {"http", "https"} or (urlsplit(url).scheme == "https" and scheme == "http"):
            raise FetchError(f"{self._what}: {masked_url(url)} redirects to {masked_url(new)}, which is refused")
        return new

    def _refuse(self, response: Any, url: str) -> None:  # noqa: ANN401 - an httpx2 response
        """Raise the error for a status other than success."""
        status, where = response.status_code, masked_url(url)
        if status in _PASSING:
            wait = retry_after(response.headers.get("retry-after"), time.time())
            raise TransientError(f"{where} returned {status}", retry_after=wait)
        if status in {401, 403}:
            raise FetchError(f"{self._what}: {where} returned {status}: not allowed", hints=self._hints)
        if status in {_NOT_FOUND, _GONE}:
            raise FetchError(f"{self._what}: {where} returned {status}: not found")
        raise FetchError(f"{self._what}: {where} returned {status}")

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        most: int | None = 64 * 1024 * 1024,
        accept: frozenset[int] = frozenset({_OK}),
    ) -> HTTPAnswer:
        """Return a whole response, for lists and metadata.

        Args:
            url: What to request.
            method: `GET` or `HEAD`.
            headers: Headers to send besides the client's own.
            most: Maximum size of the body in bytes; None leaves the body unread.
            accept: Status codes that are not failures.

        Raises:
            TransientError: A temporary failure.
            FetchError: Another status, or the body is too large.
        """
        with self._opened(method, url, headers or {}) as (response, final, first), self._sorted(final):
            if response.status_code not in accept:
                self._refuse(response, final)
            body = b""
            for piece in Pace(masked_url(final)).watch(response.iter_raw()) if most is not None else ():
                body += piece
                if most is not None and len(body) > most:
                    raise FetchError(f"{self._what}: {masked_url(final)} sent more than {most} bytes")
            return HTTPAnswer(
                status=response.status_code,
                url=final,
                headers=lower_names(response.headers),
                first_headers=lower_names(first),
                body=body,
            )

    @contextlib.contextmanager
    def read(
        self,
        url: str,
        *,
        offset: int = 0,
        size: int | None = None,
        whole: int | None = None,
        version: str | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Yield bytes of a file, in pieces.

        Args:
            url: URL of the file.
            offset: Where to begin, in bytes.
            size: How many bytes; None for all that follow.
            whole: Size of the whole file in bytes, if known.
            version: ETag or time of last change that the file must have; None for any.

        Raises:
            TransientError: A temporary failure, when called or while iterating.
            RangeError: A part was requested, and something else was sent.
            ChangedError: The file has another version or another size.
            FetchError: The file cannot be read.
        """
        part = offset > 0 or size is not None
        headers = {}
        if part:
            headers["range"] = f"bytes={offset}-{'' if size is None else offset + size - 1}"
            if version is not None and not version.startswith("W/"):
                headers["if-range"] = version
        with self._opened("GET", url, headers) as (response, final, _), self._sorted(final):
            answer = HTTPAnswer(
                status=response.status_code, url=final, headers=lower_names(response.headers), first_headers={}
            )
            if answer.status == _UNSATISFIABLE:
                raise ChangedError(f"{masked_url(final)} has no bytes from {offset} on")
            if answer.status not in {_OK, _PARTIAL}:
                self._refuse(response, final)
            check_encoding(answer, self._what, self._encodings)
            check_version(answer, whole, version)
            check_extent(answer, (offset, size) if part else None)
            yield self._guarded_pieces(response, final)

    def put(self, url: str, content: Iterable[bytes], size: int, *, headers: Mapping[str, str] | None = None) -> None:
        """Store content under a URL. Redirects are not followed.

        Args:
            url: Where to store it.
            content: The bytes, in pieces.
            size: How many bytes.
            headers: Headers to send besides the client's own.

        Raises:
            TransientError: A temporary failure.
            FetchError: The server does not accept the content.
        """
        client, described = self._connected(), {"content-length": str(size), "content-type": _OCTETS}
        sent = {"user-agent": _AGENT, **self._headers, **described, **(headers or {})}
        with self._sorted(url):
            response = client.send(client.build_request("PUT", url, headers=sent, content=content), stream=True)
            with contextlib.closing(response):
                if response.status_code not in _STORED:
                    self._refuse(response, url)

    def send(
        self,
        method: str,
        url: str,
        content: bytes | Callable[[], Iterable[bytes]] = b"",
        *,
        size: int | None = None,
        headers: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset({200, 201, 202, 204}),
        most: int = 1024 * 1024,
    ) -> HTTPAnswer:
        """Send content and return the response. Redirects are not followed.

        A 401 renews the credentials once, as in the other methods, and the content is sent again.

        Args:
            method: `POST`, `PUT`, `PATCH` or `DELETE`.
            url: Where to send it.
            content: The bytes, or a function that yields them in pieces: it may be called twice.
            size: How many bytes, if `content` is a function.
            headers: Headers to send besides the client's own.
            accept: Status codes that are not failures.
            most: Bytes of the response's body to read; what follows is left out.

        Raises:
            TransientError: A temporary failure.
            FetchError: Another status.
        """
        client, renewed = self._connected(), False
        length = len(content) if isinstance(content, bytes) else size
        described = {"content-length": str(length), "content-type": _OCTETS}
        while True:
            sent = {
                "user-agent": _AGENT,
                "accept-encoding": "identity",
                **self._headers,
                **described,
                **(headers or {}),
            }
            body = content if isinstance(content, bytes) else content()
            with self._sorted(url):
                request = client.build_request(method, url, headers=sent, content=body, timeout=self._patient())
                response = client.send(request, stream=True)
                with contextlib.closing(response):
                    found = b""
                    for piece in Pace(masked_url(url)).watch(response.iter_raw()):
                        found += piece[: most - len(found)]
                        if len(found) >= most:
                            break
                    if response.status_code == _UNAUTHORIZED and not renewed and self._renews(response, url):
                        renewed = True
                        continue
                    if response.status_code not in accept:
                        self._refuse(response, url)
                    shown = lower_names(response.headers)
                    return HTTPAnswer(
                        status=response.status_code, url=url, headers=shown, first_headers=shown, body=found
                    )

    def _patient(self) -> Any:  # noqa: ANN401 - httpx2 is imported when it is used
        """Return timeouts for uploads: a server may work on what it has received for a long time before it answers."""
        import httpx2

        return httpx2.Timeout(
            self._stall, read=max(self._stall, _ANSWER_SECONDS), connect=min(self._stall, _CONNECT_SECONDS), pool=None
        )

    def _guarded_pieces(self, response: Any, url: str) -> Iterator[bytes]:  # noqa: ANN401 - an httpx2 response
        with self._sorted(url):
            yield from Pace(masked_url(url)).watch(response.iter_raw())


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__
