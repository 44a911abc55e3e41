"""The reference of the public API, made from signatures and docstrings: docs/reference/plugin-api-names.md."""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from importlib import import_module
from typing import Any

import attrs

import lftool.api
from lftool.api import HOOKS
from lftool.api.hookspecs import Hooks

MODULES = ("lftool.api", "lftool.api.gguf", "lftool.api.http", "lftool.testing")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Examples):\s*$")
_ENTRY = re.compile(r"^(\*?\*?[\w.]+):\s+(.*)$")
_PLACE = re.compile(r"\b(?:lftool(?:\.\w+)+|collections\.abc|contextlib|pathlib|typing|types)\.(?=\w)")
_HEADING = {
    "Args": "Arguments",
    "Attributes": "Fields",
    "Returns": "Returns",
    "Yields": "Yields",
    "Raises": "Raises",
}


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"<class '([^']+)'>", r"\1", text).replace("NoneType", "None")
    return _PLACE.sub("", text)


def _sections(text: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the sections of a docstring, and the sections."""
    head: list[str] = []
    found: dict[str, list[str]] = {}
    into = head
    for line in text.splitlines():
        match = _SECTION.match(line)
        if match:
            into = found.setdefault(match[1], [])
        elif into is not head and line and not line.startswith(" "):
            into = head  # prose goes on behind a section
            into.append(line)
        else:
            into.append(line)
    return "\n".join(head).strip(), {name: inspect.cleandoc("\n".join(lines)) for name, lines in found.items()}


def _entries(text: str) -> list[tuple[str, str]]:
    """Return name and text of the entries of a section; one without names is one entry."""
    found: list[list[str]] = []
    for line in text.splitlines():
        match = _ENTRY.match(line)
        if match and not line.startswith(" "):
            found.append([match[1], match[2]])
        elif found:
            found[-1][1] += " " + line.strip()
        else:
            found.append(["", line.strip()])
    return [(name, told.strip()) for name, told in found]


def _listed(title: str, entries: list[tuple[str, str]]) -> list[str]:
    told = [f"- {f'`{name}`: ' if name else ''}{text}" for name, text in entries]
    return [f"**{title}**", "", *told, ""] if told else []


def _prose(text: str) -> list[str]:
    """Return prose, with indented examples as code."""
    lines: list[str] = []
    code = False
    for line in text.splitlines():
        indented = line.startswith("    ")
        if indented and not code and (not lines or not lines[-1]):
            lines.append("```python")
            code = True
        elif code and line and not indented:
            while not lines[-1]:
                lines.pop()
            lines += ["```", ""]
            code = False
        lines.append(line[4:] if code else line)
    return [*lines, *(["```"] if code else []), ""]


def _described(thing: Any, skip: frozenset[str] = frozenset()) -> list[str]:
    head, sections = _sections(inspect.getdoc(thing) or "")
    lines = _prose(head)
    for name, text in sections.items():
        if name in _HEADING and name not in skip:
            lines += _listed(_HEADING[name], _entries(text))
        elif name.startswith("Example"):
            code = "\n".join(line.removeprefix(">>> ").removeprefix("... ") for line in text.splitlines())
            lines += ["```python", code, "```", ""]
    return lines


def _signature(name: str, function: Any, *, method: bool = False) -> str:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1 if method else 0 :]
    shown = []
    star = False
    for item in parameters:
        if item.kind is item.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        prefix = {item.VAR_POSITIONAL: "*", item.VAR_KEYWORD: "**"}.get(item.kind, "")
        star = star or item.kind is item.VAR_POSITIONAL
        text = prefix + item.name
        if item.annotation is not item.empty:
            text += f": {_type(item.annotation)}"
        if item.default is not item.empty:
            text += f" = {item.default!r}"
        shown.append(text)
    returns = "" if signature.return_annotation is signature.empty else f" -> {_type(signature.return_annotation)}"
    return f"{name}({', '.join(shown)}){returns}"


def _default(field: Any) -> str:
    if isinstance(field.default, attrs.Factory):
        made = getattr(field.default.factory, "__name__", "")
        return {"dict": " = {}", "list": " = []"}.get(made, " = …")
    if field.default is attrs.NOTHING:
        return ""
    value = field.default
    return f" = {value.__name__ if isinstance(value, type) else repr(value)}"


def _fields(cls: type) -> list[str]:
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, sections = _sections(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
        told |= dict(_entries(sections.get("Attributes", "")))
    lines = []
    for field in attrs.fields(cls):
        if not field.name.startswith("_"):
            text = told.get(field.name, "")
            lines.append(f"- `{field.name}: {_type(field.type)}{_default(field)}`{f': {text}' if text else ''}")
    return ["**Fields**", "", *lines, ""] if lines else []


def _members(cls: type) -> list[tuple[str, Any]]:
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        described = (
            base is not cls and base.__name__ in lftool.api.__all__ and base is getattr(lftool.api, base.__name__)
        )
        if base.__module__.startswith("lftool") and not described:
            found |= {name: value for name, value in vars(base).items() if not name.startswith("_")}
    fields = {field.name for field in attrs.fields(cls)} if attrs.has(cls) else set()
    return [
        (name, value)
        for name, value in found.items()
        if name not in fields and (inspect.isfunction(value) or isinstance(value, property | classmethod))
    ]


def _class(cls: type) -> list[str]:
    lines = _described(cls, frozenset({"Attributes"}))
    if cls.__name__.endswith("Conformance"):  # the example stands at the top of its module
        lines += _prose((import_module(cls.__module__).__doc__ or "").strip())  # `getdoc` would undo the indentation
    bases = [base.__name__ for base in cls.__mro__[1:] if base.__name__ in lftool.api.__all__]
    if bases:
        lines += [f"A `{bases[0]}`.", ""]
    if issubclass(cls, enum.Enum):
        return [*lines, *(f"- `{item.name}` = {item.value}" for item in cls), ""]
    if attrs.has(cls):
        lines += _fields(cls)
    tests = [item for item in _members(cls) if item[0].startswith("test_")]
    for member, value in _members(cls):
        if (member, value) in tests:
            continue
        if hasattr(value, "_fixture_function") or type(value).__name__ == "FixtureFunctionDefinition":
            continue
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(value, property):
            returns = inspect.signature(inner).return_annotation
            lines += [f"**`.{member}: {_type(returns)}`**", ""]
        else:
            lines += [f"**`.{_signature(member, inner, method=True)}`**", ""]
        lines += _described(inner)
    if tests:
        lines += ["**Tests**", "", *(f"- {member.removeprefix('test_').replace('_', ' ')}" for member, _ in tests), ""]
    return lines


def _item(name: str, value: Any) -> list[str]:
    if isinstance(value, type):
        return [f"### `{name}`", "", *_class(value)]
    if hasattr(value, "__wrapped__") or inspect.isfunction(value):
        return [f"### `{_signature(name, value)}`", "", *_described(value)]
    if typing.get_origin(value) is not None or isinstance(value, types.UnionType):
        return [f"### `{name}`", "", f"`{_type(value)}`", ""]
    if isinstance(value, dict):
        return [f"### `{name}`", "", f"A mapping with {len(value)} entries.", ""]
    if not isinstance(value, int | str | tuple | frozenset):
        return [f"### `{name}`", "", *_described(type(value))]
    shown = sorted(value) if isinstance(value, frozenset) else value
    return [f"### `{name}`", "", f"`{shown!r}`", ""]


def page() -> str:
    """Return the page."""
    lines = [
        "# Plugin API: every name",
        "",
        "Made from signatures and docstrings by `make generate`. What the core asks for when, and what it guarantees, is on",
        "[Plugin API](plugin-api.md).",
        "",
        "## Hooks",
        "",
    ]
    for hook, record in HOOKS.items():
        lines += [f"### `{hook}` yields `{record.__name__}`", "", *_described(getattr(Hooks, hook))]
    for module in MODULES:
        found = import_module(module)
        lines += [f"## `{module}`", "", *_prose(_sections(inspect.getdoc(found) or "")[0])]
        for name in sorted(found.__all__, key=str.lower):
            lines += _item(name, getattr(found, name))
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
