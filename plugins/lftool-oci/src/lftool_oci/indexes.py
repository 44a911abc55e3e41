"""One manifest of an index (OCI image-spec v1.1, "Image Index"): the only one, or the one that the options mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftool.api import FormatError, RecipeError

if TYPE_CHECKING:
    from lftool_oci.options import Options

TARGET = "lftool.target"  # the annotation that `lftool push` gives each manifest
_ATTESTS = "vnd.docker.reference.type"  # BuildKit's annotation of what is about another manifest, not a model


def _platform(item: dict[str, Any]) -> str:
    platform = item.get("platform") or {}
    return "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)


def _target(item: dict[str, Any]) -> str:
    return str((item.get("annotations") or {}).get(TARGET, ""))


def _is_meant(item: dict[str, Any], options: Options) -> bool:
    platform = None if options.platform is None else f"{options.platform.strip('/')}/"
    return (platform is None or f"{_platform(item)}/".startswith(platform)) and options.target in {None, _target(item)}


def choose(index: dict[str, Any], options: Options, uri: str) -> str:
    """Return the digest of the manifest that is meant.

    Args:
        index: An image index, parsed.
        options: What the recipe says of it. The machine that locks has no say: a lock is for all.
        uri: What is asked for, for messages.

    Raises:
        FormatError: It is malformed.
        RecipeError: Several could be meant, or none is meant; the message lists them.
    """
    try:
        listed = [item for item in index["manifests"] if _ATTESTS not in (item.get("annotations") or {})]
        named = {str(item["digest"]): _target(item) or _platform(item) for item in listed}
        found = [str(item["digest"]) for item in listed if _is_meant(item, options)]
        targets = any(map(_target, listed))
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"source {uri!r}: its index is malformed: {type(error).__name__}: {error}") from error
    if len(found) == 1:
        return found[0]
    asked = options.target or options.platform
    wrong = "several manifests" if asked is None else f"{len(found)} manifests for {asked!r}"
    lines = [f"  {digest}{f'  {name}' if name else ''}" for digest, name in sorted(named.items())]
    base = uri.partition("@")[0]
    option = 'target = "NAME"' if targets else 'platform = "OS/ARCHITECTURE"'
    raise RecipeError(
        "\n".join([f"source {uri!r} is an index of {wrong}; it has:", *lines]),
        hints=(f'name one: uri = "{base}@sha256:…", or options = {{ {option} }}',),
    )
