"""A repository of a registry over HTTP: who may do what, and its documents (OCI distribution spec v1.1)."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from lftool.api import FetchError, FormatError
from lftool.api.http import HTTPClient
from lftool_oci.credentials import PASSWORD, REGISTRY, USERNAME, basic_credentials, may_see_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.api import Credentials
    from lftool.api.http import HTTPAnswer
    from lftool_oci.reference import Reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
MOST_DOCUMENT = 4 * 1024 * 1024  # what a registry takes at least, and what clients read
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Registry:
    """One repository. Threads may share it.

    Args:
        reference: The repository.
        what: What it is, for messages, such as `source 'oci://…'`.
        own: The user's credentials, by host.
        scope: What to ask a token service for, if the registry does not say: `pull`, or `pull,push`.
        others: Other repositories of the registry that a token must be good for as well, for reading.
    """

    def __init__(
        self, reference: Reference, what: str, own: Credentials, *, scope: str = "pull", others: tuple[str, ...] = ()
    ) -> None:
        self.reference, self.what = reference, what
        self._own, self._scope, self._others = own, scope, others
        hint = (
            f"run `docker login {reference.registry}`, name the registry in credentials.toml,"
            f" or set {REGISTRY} to it, and {USERNAME} and {PASSWORD}"
        )
        self.hints = (hint,)
        self._renewing = threading.Lock()
        self.client = HTTPClient(what, hints=self.hints, renew=self._credentials)

    def _credentials(self, answer: HTTPAnswer) -> Mapping[str, str] | None:
        """Return the header that a registry's challenge asks for; None when there is nothing to offer."""
        challenge, reference = answer.headers.get("www-authenticate", ""), self.reference
        named = self._own.named(reference.base)
        headers = {} if named is None else {key.lower(): value for key, value in named.headers.items()}
        basic = headers.get("authorization") or basic_credentials(reference.registry)
        if challenge.lower().startswith("basic"):
            return {"authorization": basic} if basic else None
        values = dict(_PARAMETER.findall(challenge))
        if not challenge.lower().startswith("bearer") or "realm" not in values:
            return None
        scopes = [values.get("scope", f"repository:{reference.repository}:{self._scope}")]
        scopes += [f"repository:{name}:pull" for name in self._others]
        query = [("scope", scope) for scope in scopes]
        if "service" in values:
            query.append(("service", values["service"]))
        realm = values["realm"]
        if urlsplit(realm).scheme not in {"http", "https"}:
            return None
        shown = basic if basic and may_see_credentials(realm, reference.base) else None
        asking = HTTPClient(self.what, headers={"authorization": shown} if shown else {}, hints=self.hints)
        body = asking.ask(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", most=MOST_DOCUMENT).body
        try:
            found = json.loads(body)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise FetchError(f"{self.what}: the registry's token service sent no token") from error
        return {"authorization": f"Bearer {token}"}

    def document(self, wanted: str) -> tuple[str, str, dict[str, Any]]:
        """Return digest, media type and content of a manifest or index, checked against the digest that was asked for.

        Raises:
            FetchError: There is none, or no right to it.
            FormatError: It is not what its digest says, or no JSON object.
        """
        accept = {"accept": ", ".join((*MANIFESTS, *INDEXES))}
        url = f"{self.reference.base}/manifests/{wanted}"
        return self._parsed(self.client.ask(url, headers=accept, most=MOST_DOCUMENT), wanted)

    def find(self, wanted: str) -> tuple[str, str, dict[str, Any]] | None:
        """Return the same as `document`; None if there is none."""
        accept = {"accept": ", ".join((*MANIFESTS, *INDEXES))}
        url = f"{self.reference.base}/manifests/{wanted}"
        answer = self.client.ask(url, headers=accept, most=MOST_DOCUMENT, accept=frozenset({200, 404}))
        return None if answer.status == 404 else self._parsed(answer, wanted)  # noqa: PLR2004 - not found

    def _parsed(self, answer: HTTPAnswer, wanted: str) -> tuple[str, str, dict[str, Any]]:
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        named = wanted if wanted.startswith("sha256:") else answer.headers.get("docker-content-digest")
        if named is not None and named.startswith("sha256:") and named != digest:
            raise FormatError(f"{self.what}: the manifest is {digest}, expected {named}")
        try:
            found = json.loads(answer.body)
            return digest, str(found.get("mediaType") or answer.headers.get("content-type", "")), found
        except (ValueError, AttributeError) as error:
            raise FormatError(f"{self.what}: the manifest is not a JSON object") from error
