"""Open a source: structure its options, and attribute failures to the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lftool.api import Source, SourceContext
from lftool.errors import RecipeError, UnavailableError
from lftool.host.given_options import given_options
from lftool.host.guarding import guarded

if TYPE_CHECKING:
    from lftool.host.registry import Registered
    from lftool.models.recipe import SourceSpec
    from lftool.pipeline.ports import Ports
    from lftool.pipeline.sources.called import Called


_CREDENTIALS_HINT = "name credentials for the host in your credentials.toml (lftool help configuration)"
_QUERY_HINT = "put the query string in your credentials.toml: `query` of that host (lftool help configuration)"


def scheme_of(uri: str, called: Called) -> str:
    """Return the scheme of a source URI; refuse parts that must not end up in a lock.

    Raises:
        RecipeError: It has no scheme, or has user information or a query string.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or not scheme.isalnum():
        raise RecipeError(
            f"{called.uri_place}{uri!r} has no scheme",
            hints=(f"for a file {'beside the recipe' if called.typed is None else 'here'}, write file:{uri}",),
        )
    if scheme != "file":
        try:
            parts = urlsplit(uri)
            host = parts.netloc
            _ = scheme in {"http", "https"} and parts.port  # which fails if it is none
        except ValueError as error:
            raise RecipeError(f"{called.uri_place}{uri!r} is not a valid URI: {error}") from None
        if "@" in host:
            raise RecipeError(
                f"{called.uri_place}user information is refused: {called.shown}",
                hints=(_CREDENTIALS_HINT,),
            )
        if "?" in rest:
            raise RecipeError(
                f"{called.uri_place}a query string is refused: {called.shown}",
                hints=(f"leave it out: {uri.partition('?')[0]} gives the same file",)
                if rest.partition("?")[2] == "download=true"
                else (_QUERY_HINT,)
                if scheme in {"http", "https"}
                else (_CREDENTIALS_HINT,),
            )
    return scheme


def open_source(spec: SourceSpec, called: Called, ports: Ports) -> tuple[Registered[Any], Source]:
    """Return the plugin's record and the opened source.

    Raises:
        RecipeError: No plugin opens it, or its options are wrong.
    """
    registered = ports.registry.source(scheme_of(spec.uri, called))
    record = registered.record
    if not ports.online and not record.local:
        if called.typed is not None:
            raise UnavailableError(f"{called.title} needs a network, and lftool is offline")
        raise UnavailableError(
            f"{called.title} is not in the store, and lftool is offline, so it cannot use the {record.name} source",
            hints=("run once without --offline to put it in the store",),
        )
    options = given_options(record, spec.options, "source", called.options_place, RecipeError)
    context = SourceContext(
        project=ports.project,
        options=options,
        offline=not ports.online,
        files=ports.files,
        credentials=ports.credentials,
    )
    with guarded(registered.origin):
        return registered, record.factory(context)
