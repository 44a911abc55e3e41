"""Open a source from a recipe's entry: structure its options, and attribute failures to the plugin."""

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


_CREDENTIALS_HINT = "name credentials for the host in your credentials.toml (lftool help configuration)"
_QUERY_HINT = "put the query string in your credentials.toml: `query` of that host (lftool help configuration)"


def scheme_of(uri: str, name: str) -> str:
    """Return the scheme of a source URI; refuse parts that must not end up in a lock.

    Raises:
        RecipeError: It has no scheme, or has user information or a query string.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or not scheme.isalnum():
        raise RecipeError(
            f"sources.{name}.uri: {uri!r} has no scheme", hints=(f"for a file beside the recipe, write file:{uri}",)
        )
    if scheme != "file":
        try:
            host = urlsplit(uri).netloc
        except ValueError as error:
            raise RecipeError(f"sources.{name}.uri: {uri!r} is not a valid URI: {error}") from None
        if "@" in host:
            raise RecipeError(
                f"sources.{name}.uri: user information is refused: it would end up in the lock",
                hints=(_CREDENTIALS_HINT,),
            )
        if "?" in rest:
            raise RecipeError(
                f"sources.{name}.uri: a query string is refused: it would end up in the lock",
                hints=(f"leave it out: {uri.partition('?')[0]} gives the same file",)
                if rest.partition("?")[2] == "download=true"
                else (_QUERY_HINT,)
                if scheme in {"http", "https"}
                else (_CREDENTIALS_HINT,),
            )
    return scheme


def open_source(spec: SourceSpec, name: str, ports: Ports) -> tuple[Registered[Any], Source]:
    """Return the plugin's record and the opened source for a recipe's entry.

    Raises:
        RecipeError: No plugin opens it, or its options are wrong.
    """
    registered = ports.registry.source(scheme_of(spec.uri, name))
    record = registered.record
    if not ports.online and not record.local:
        raise UnavailableError(
            f"source {name!r} is not in the store, and lftool is offline, so it cannot use the {record.name} source",
            hints=("run once without --offline to put it in the store",),
        )
    options = given_options(record, spec.options, "source", f"lftool.toml: $.sources.{name}.options", RecipeError)
    context = SourceContext(
        project=ports.project,
        options=options,
        offline=not ports.online,
        files=ports.files,
        credentials=ports.credentials,
    )
    with guarded(registered.origin):
        return registered, record.factory(context)
