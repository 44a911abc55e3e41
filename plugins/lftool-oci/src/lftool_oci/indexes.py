"""One manifest of an index (OCI image-spec v1.1, "Image Index"): the only one, the platform's that the recipe names, or none."""

from __future__ import annotations

from typing import Any

from lftool.api import FormatError, RecipeError

_ATTESTS = "vnd.docker.reference.type"  # BuildKit's annotation of what is about another manifest, not a model


def _platform(item: dict[str, Any]) -> str:
    platform = item.get("platform") or {}
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)


def choose(index: dict[str, Any], platform: str | None, uri: str) -> str:
    """Return the digest of the manifest that is meant.

    Args:
        index: An image index, parsed.
        platform: `OS/ARCHITECTURE[/VARIANT]` that the recipe names. The machine that locks has no say: a lock is for all.
        uri: What is asked for, for messages.

    Raises:
        FormatError: It is malformed.
        RecipeError: Several could be meant, or none is of that platform; the message lists them.
    """
    try:
        listed = [item for item in index["manifests"] if _ATTESTS not in (item.get("annotations") or {})]
        named = {str(item["digest"]): _platform(item) for item in listed}
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"source {uri!r}: its index is malformed: {type(error).__name__}: {error}") from error
    found = [
        digest for digest, name in named.items() if platform is None or f"{name}/".startswith(f"{platform.strip('/')}/")
    ]
    if len(found) == 1:
        return found[0]
    wrong = "several manifests" if platform is None else f"{len(found)} manifests for {platform!r}"
    lines = [f"  {digest}{f'  {name}' if name else ''}" for digest, name in sorted(named.items())]
    base = uri.partition("@")[0]
    raise RecipeError(
        "\n".join([f"source {uri!r} is an index of {wrong}; it has:", *lines]),
        hints=(f'name one: uri = "{base}@sha256:…", or options = {{ platform = "OS/ARCHITECTURE" }}',),
    )
