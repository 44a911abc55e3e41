"""What moved in a lock, in the words of the recipe: its fields first, then sources, tools and targets, without digests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lftool.codec.locks import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KINDS = {
    "sources": "source",
    "convert": "convert",
    "plugins": "plugin",
    "tools": "tool",
    "runtimes": "runtime",
    "targets": "target",
}
_MOST_FILES = 3
_DIGITS = re.compile(r"(sha256:)?[0-9a-f]{20,}")
_SHOWN = 19  # characters of a revision: `sha256:` and twelve digits


def summary(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one line per thing that was added, removed or changed.

    Args:
        old: A lock as plain data; None for none.
        new: The lock after it.
    """
    before = old or {}
    lines = []
    if old is not None:
        fields = [lock.get("recipe", {}).get("fields", {}) for lock in (before, new)]
        lines += [_line("recipe", text) for text in differences(*fields)]
    for section, kind in _KINDS.items():
        names: dict[str, list[str]] = {}
        one, other = before.get(section, {}), new.get(section, {})
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                names.setdefault(_change(section, one.get(name), other.get(name)), []).append(name)
        lines += [_line(kind, f"{', '.join(found)}: {text}") for text, found in names.items()]
    return tuple(lines)


def _line(kind: str, text: str) -> str:
    return f"{kind:>9}  {text}"


def _change(section: str, old: Any, new: Any) -> str:  # noqa: ANN401 - plain data
    if new is None:
        return "removed"
    told = _ADDED[section](new)
    if old is None:
        return f"added, {told}" if told else "added"
    return _CHANGED[section](old, new)


def _size(files: list[dict[str, Any]]) -> str:
    size = sum(file["size"] for file in files)
    counted = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    return f"{counted}, {size / 1e6:.1f} MB"


def _source(value: dict[str, Any]) -> str:
    files = value.get("files", [])
    return f"{value['uri']}, {_size(files)}" if files else str(value["uri"])


def _short(text: str) -> str:
    """Return a revision without most of its digits; a URI as it is."""
    return text[:_SHOWN] if _DIGITS.fullmatch(text) else text


def _moved(old: str, new: str) -> str:
    return f"{_short(old)} → {_short(new)}"


def _source_change(old: dict[str, Any], new: dict[str, Any]) -> str:
    parts = [_moved(old["uri"], new["uri"])] if old["uri"] != new["uri"] else []
    if old.get("revision") != new.get("revision"):
        parts.append(_moved(str(old.get("revision")), str(new.get("revision"))))
    one, other = ({file["path"]: file["sha256"] for file in lock.get("files", [])} for lock in (old, new))
    changed = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    if changed:
        more = len(changed) - _MOST_FILES
        parts.append(f"changed: {', '.join(changed[:_MOST_FILES])}" + (f" and {more} more" if more > 0 else ""))
    return "; ".join(parts) or "changed"


def _providers(value: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in value.get("providers", {}).items())


def _tool_change(old: dict[str, Any], new: dict[str, Any]) -> str:
    one, other = _providers(old), _providers(new)
    if one != other:
        return f"{one} → {other}"
    archives = [lock.get("archive", {}) for lock in (old, new)]
    for key in ("uri", "revision"):
        if archives[0].get(key) != archives[1].get(key):
            return _moved(str(archives[0].get(key)), str(archives[1].get(key)))
    before, after = old.get("fingerprints", {}), new.get("fingerprints", {})
    if any(before[use] != after[use] for use in before.keys() & after.keys()):
        return "other bits"
    more, less = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    parts = [f"now {', '.join(more)}"] if more else []
    parts += [f"no longer {', '.join(less)}"] if less else []
    return "; ".join(parts) or "changed"


def _plugin_change(old: dict[str, Any], new: dict[str, Any]) -> str:
    one, other = old.get("version"), new.get("version")
    if bool(old.get("editable")) != bool(new.get("editable")):
        return "editable" if new.get("editable") else "no longer editable"
    return f"{one} → {other}" if one != other else f"{other}, other code"


def _uses(value: dict[str, Any]) -> str:
    return str(value.get("quantize", value).get("uses", ""))


def _target_change(old: dict[str, Any], new: dict[str, Any]) -> str:
    one, other = _uses(old), _uses(new)
    if one != other:
        return f"{one or 'as it is'} → {other or 'as it is'}"
    if old.get("quantize", {}).get("action") != new.get("quantize", {}).get("action"):
        return "quantised anew"
    if old.get("pack", {}).get("action") != new.get("pack", {}).get("action"):
        return "packed anew"
    rules = new.get("quantize", {}).get("mixture")
    return f"types by {rules}" if old.get("quantize", {}).get("mixture") != rules else "changed"


_ADDED: dict[str, Callable[[dict[str, Any]], str]] = {
    "sources": _source,
    "convert": _uses,
    "plugins": lambda value: str(value.get("version", "")),
    "tools": _providers,
    "runtimes": lambda _: "",
    "targets": _uses,
}
_CHANGED: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "sources": _source_change,
    "convert": lambda _old, _new: "converted anew",
    "plugins": _plugin_change,
    "tools": _tool_change,
    "runtimes": lambda _old, _new: "other bytes",
    "targets": _target_change,
}
