"""The source `pypi:NAME==VERSION`: files of a release on the Python package index that pip is set up to use.

Source: the simple repository API in JSON, PEP 691 and PEP 700. Which index that is, pip's own configuration decides; no
address of one stands in a recipe or a lock.
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from attrs import frozen
from packaging.version import Version

from lftool.api import (
    Digest,
    FetchError,
    RecipeError,
    Resolution,
    SourceFile,
    TransientError,
    UnavailableError,
    is_chosen,
)
from lftool.api.http import HTTPClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from lftool.api import SourceContext, SourceRequest

_URI = re.compile(r"pypi:([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9.!+_-]+)\Z")
_SUM = re.compile(r"[0-9a-f]{64}\Z")
_JSON = "application/vnd.pypi.simple.v1+json"
_MOST = 64 * 1024 * 1024


@frozen(kw_only=True)
class Index:
    """A package index: its address without credentials, and the headers that carry these."""

    url: str
    headers: Mapping[str, str]


def parse_index(address: str) -> Index:
    """Return the index of an address that may hold `user:password@`.

    Raises:
        UnavailableError: It is no address; the message does not repeat it, as it may hold a password.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in {"http", "https"}:
        raise UnavailableError("the address of the Python package index is not a URL", hints=("set PIP_INDEX_URL",))
    where = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{where}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    if parts.username is None:
        return Index(url=url, headers={})
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Index(url=url, headers={"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})


def configuration_files(environment: Mapping[str, str]) -> list[Path]:
    """Return where pip's configuration may stand, the least specific first (pip documentation, "Configuration")."""
    home = Path(environment.get("HOME", "/nonexistent"))
    user = Path(environment.get("XDG_CONFIG_HOME", str(home / ".config")))
    folders = environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    found = [*(Path(folder) / "pip" / "pip.conf" for folder in folders), Path("/etc/pip.conf")]
    found += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    named = environment.get("PIP_CONFIG_FILE")
    return [*found, Path(named)] if named else found


def index_url(environment: Mapping[str, str]) -> str:
    """Return the address of the package index: `PIP_INDEX_URL`, pip's configuration, or pip's default.

    Raises:
        UnavailableError: Neither says, and pip is not installed.
    """
    if environment.get("PIP_INDEX_URL"):
        return environment["PIP_INDEX_URL"]
    parser = configparser.ConfigParser(interpolation=None)
    for path in configuration_files(environment):
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):  # its text may hold a password
            raise UnavailableError(f"pip's configuration {path} cannot be read", hints=("set PIP_INDEX_URL",)) from None
    for section in ("install", "global"):
        if parser.has_option(section, "index-url"):
            return parser.get(section, "index-url").strip()
    try:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - the one place that knows pip's default
    except ImportError:
        raise UnavailableError(
            "no Python package index is configured, and pip is not installed", hints=("set PIP_INDEX_URL",)
        ) from None
    default: str = PyPI.simple_url
    return default


def normalised(name: str) -> str:
    """Return a project's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def newest_release(name: str) -> str:
    """Return the newest version of a project on the package index that is not a preliminary one.

    Raises:
        UnavailableError: No package index is configured.
        FetchError: The index does not answer, or has no release of it.
    """
    index = parse_index(index_url(os.environ))
    page = f"{index.url}/{normalised(name)}/"
    client = HTTPClient(f"the releases of {name}", headers=index.headers)
    try:
        answer = client.ask(page, headers={"accept": _JSON}, most=_MOST)
    except TransientError as error:
        raise FetchError(f"the releases of {name}: {error.message}") from error
    try:
        found = [Version(text) for text in json.loads(answer.body)["versions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(
            f"the releases of {name}: the index {page} does not list versions as JSON", hints=("PEP 700",)
        ) from error
    released = [version for version in found if not version.is_prerelease]
    if not released:
        raise FetchError(f"the releases of {name}: the index {page} has none")
    return str(max(released))


class PackageIndexSource:
    """Reads releases of a package index. Its revision is the version: an index never replaces a file."""

    def __init__(self, context: SourceContext) -> None:
        del context
        self._pages: dict[str, dict[str, tuple[str, SourceFile]]] = {}

    def _client(self, uri: str, index: Index, url: str) -> HTTPClient:
        """Return a client for `url`; the index's credentials go to the index's own host."""
        headers = index.headers if urlsplit(url)[:2] == urlsplit(index.url)[:2] else {}
        return HTTPClient(
            f"source {uri!r}", headers=headers, hints=("set PIP_INDEX_URL to an index that you may read",)
        )

    def _files(self, uri: str) -> dict[str, tuple[str, SourceFile]]:
        """Return name to address and facts of the files of a release."""
        if uri not in self._pages:
            match = _URI.match(uri)
            if match is None:
                raise RecipeError(f"source {uri!r}: expected pypi:NAME==VERSION")
            index = parse_index(index_url(os.environ))
            page = f"{index.url}/{normalised(match[1])}/"
            answer = self._client(uri, index, page).ask(page, headers={"accept": _JSON}, most=_MOST)
            self._pages[uri] = _release(answer.body, page, match[1], match[2], uri)
        return self._pages[uri]

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the files of the release; the index vouches for their digests."""
        found = [
            file
            for name, (_, file) in sorted(self._files(request.uri).items())
            if is_chosen(name, request.include, request.exclude)
        ]
        if not found:
            raise FetchError(f"source {request.uri!r}: the index has no matching file for this release")
        return Resolution(revision=request.uri.partition("==")[2], files=tuple(found))

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return a file's bytes."""
        del revision
        files = self._files(request.uri)
        if file.path not in files:
            raise FetchError(f"source {request.uri!r}: the index no longer has {file.path}")
        url, _ = files[file.path]
        client = self._client(request.uri, parse_index(index_url(os.environ)), url)
        return client.read(url, offset=offset, size=size, whole=file.size)


def _release(body: bytes, page: str, name: str, version: str, uri: str) -> dict[str, tuple[str, SourceFile]]:
    try:
        listed: list[dict[str, Any]] = json.loads(body)["files"]
        found = {}
        for item in listed:
            path = str(item["filename"])
            if not _is_of(path, name, version):
                continue
            digest = item["hashes"].get("sha256", "")
            sha256 = Digest(digest) if _SUM.match(digest) else None
            size = item.get("size")
            file = SourceFile(path=path, size=size if isinstance(size, int) else None, sha256=sha256)
            found[path] = (urljoin(page, str(item["url"])).partition("#")[0], file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(
            f"source {uri!r}: the index {page} does not serve the simple API as JSON",
            hints=("PEP 691; older indexes deliver HTML only: set PIP_INDEX_URL to another",),
        ) from error
    return found


def _is_of(path: str, name: str, version: str) -> bool:
    """Tell whether a file belongs to a release: `NAME-VERSION.tar.gz` or `NAME-VERSION-….whl`."""
    for suffix in (".tar.gz", ".zip", ".whl"):
        if path.endswith(suffix):
            stem, _, rest = path.removesuffix(suffix).partition("-")
            if suffix != ".whl":
                stem, _, rest = path.removesuffix(suffix).rpartition("-")
            return normalised(stem) == normalised(name) and rest.partition("-")[0] == version
    return False
