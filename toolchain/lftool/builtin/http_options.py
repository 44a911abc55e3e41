"""What a recipe may say about an http source."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class HTTPOptions:
    """`options` of an http source. Secrets are named, never written: `env:NAME` is a variable that holds one."""

    token: str | None = field(
        default=None, metadata={"doc": "`env:NAME` of a token, sent as `Authorization: Bearer` to this host only."}
    )
    query: str | None = field(
        default=None, metadata={"doc": "`env:NAME` of what the URL has behind `?`; for pre-signed URLs."}
    )
