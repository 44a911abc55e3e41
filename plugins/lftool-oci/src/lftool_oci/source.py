"""Read manifests and blobs of a registry (OCI distribution spec v1.1, "Pull"); tokens as Docker's token spec has them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from lftool.api import FetchError, FormatError, Resolution, is_chosen
from lftool.api.http import HTTPClient
from lftool_oci.credentials import PASSWORD, REGISTRY, USERNAME, basic_credentials, may_see_credentials
from lftool_oci.indexes import choose
from lftool_oci.layers import files_of
from lftool_oci.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from lftool.api import SourceContext, SourceFile, SourceRequest
    from lftool.api.http import HTTPAnswer
    from lftool_oci.reference import Reference

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MOST_MANIFEST = 4 * 1024 * 1024
_MOST_INDEXES = 3  # an index may name another


class RegistrySource:
    """Reads model artifacts; their digests are the registry's own."""

    def __init__(self, context: SourceContext) -> None:
        self._own = context.credentials
        self._platform: str | None = context.options.platform
        self._clients: dict[str, HTTPClient] = {}

    def _client(self, reference: Reference, uri: str) -> HTTPClient:
        if uri not in self._clients:
            hint = (
                f"run `docker login {reference.registry}`, name the registry in credentials.toml,"
                f" or set {REGISTRY} to it, and {USERNAME} and {PASSWORD}"
            )
            self._clients[uri] = HTTPClient(
                f"source {uri!r}", hints=(hint,), renew=lambda answer: self._credentials(answer, reference, uri)
            )
        return self._clients[uri]

    def _credentials(self, answer: HTTPAnswer, reference: Reference, uri: str) -> Mapping[str, str] | None:
        """Return the header that a registry's challenge asks for; None when there is nothing to offer."""
        challenge = answer.headers.get("www-authenticate", "")
        named = self._own.named(reference.base)
        headers = {} if named is None else {key.lower(): value for key, value in named.headers.items()}
        basic = headers.get("authorization") or basic_credentials(reference.registry)
        if challenge.lower().startswith("basic"):
            return {"authorization": basic} if basic else None
        values = dict(_PARAMETER.findall(challenge))
        if not challenge.lower().startswith("bearer") or "realm" not in values:
            return None
        query = {"scope": values.get("scope", f"repository:{reference.repository}:pull")}
        if "service" in values:
            query["service"] = values["service"]
        realm = values["realm"]
        if urlsplit(realm).scheme not in {"http", "https"}:
            return None
        shown = basic if basic and may_see_credentials(realm, reference.base) else None
        asking = HTTPClient(f"source {uri!r}", headers={"authorization": shown} if shown else {})
        body = asking.ask(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", most=_MOST_MANIFEST).body
        try:
            found = json.loads(body)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise FetchError(f"source {uri!r}: the registry's token service sent no token") from error
        return {"authorization": f"Bearer {token}"}

    def _document(self, reference: Reference, wanted: str, uri: str) -> tuple[str, str, dict[str, Any]]:
        """Return digest, media type and content of a manifest or index, checked against the digest that was asked for."""
        accept = {"accept": ", ".join((*_MANIFESTS, *_INDEXES))}
        url = f"{reference.base}/manifests/{wanted}"
        answer = self._client(reference, uri).ask(url, headers=accept, most=_MOST_MANIFEST)
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        named = wanted if wanted.startswith("sha256:") else answer.headers.get("docker-content-digest")
        if named is not None and named.startswith("sha256:") and named != digest:
            raise FormatError(f"source {uri!r}: the manifest is {digest}, expected {named}")
        try:
            found = json.loads(answer.body)
            return digest, str(found.get("mediaType") or answer.headers.get("content-type", "")), found
        except (ValueError, AttributeError) as error:
            raise FormatError(f"source {uri!r}: the manifest is not a JSON object") from error

    def _manifest(self, reference: Reference, uri: str) -> tuple[str, dict[str, Any]]:
        """Return digest and content of the manifest that is meant, looking into an index."""
        wanted = reference.wanted
        for _ in range(_MOST_INDEXES):
            digest, kind, found = self._document(reference, wanted, uri)
            if kind not in _INDEXES and "manifests" not in found:
                return digest, found
            wanted = choose(found, self._platform, uri)
        raise FormatError(f"source {uri!r}: indexes are nested too deeply; name a manifest by its digest")

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return the manifest that the tag names now, and the files of its layers.

        Raises:
            RecipeError: The URI is wrong, or names an index in which several manifests could be meant.
            FormatError: The manifest is not what its digest says, or no model.
            FetchError: Nothing is there, or there is no right to it.
            TransientError: The registry does not answer, for now.
        """
        reference = parse_reference(request.uri)
        digest, manifest = self._manifest(reference, request.uri)
        found = files_of(manifest, f"source {request.uri!r}")
        files = tuple(file for file in found if is_chosen(file.path, request.include, request.exclude))
        if not files:
            names = ", ".join(file.path for file in found)
            raise FetchError(f"source {request.uri!r}: include and exclude match none of {names}")
        return Resolution(revision=digest, files=files)

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return the bytes of a layer, by its digest."""
        del revision
        reference = parse_reference(request.uri)
        url = f"{reference.base}/blobs/sha256:{file.sha256}"
        return self._client(reference, request.uri).read(url, offset=offset, size=size, whole=file.size)
