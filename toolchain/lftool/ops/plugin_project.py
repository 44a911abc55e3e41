"""`lftool plugins new`: create a plugin project whose tests pass from the start."""

from __future__ import annotations

import re
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from lftool.api import LFTOOL_API_VERSION
from lftool.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Kind to hook, record, and the record's fields besides name and summary, as source text.
_KINDS = {
    "source": (
        "lftool_sources",
        "SourceType",
        (
            'schemes=("$scheme",)',
            "local=True",
            'options=lazily("$module.source:Options")',
            'factory=lazily("$module.source:Source")',
        ),
    ),
    "quantizer": (
        "lftool_quantizers",
        "QuantizerType",
        (
            'consumes=("gguf",)',
            'produces=("$shout",)',
            'semantics="$name/1"',
            'factory=lazily("$module.quantizer:Quantizer")',
        ),
    ),
    "layout": (
        "lftool_layouts",
        "LayoutType",
        ('suffix=".$name"', 'media_type="application/octet-stream"', 'factory=lazily("$module.layout:Layout")'),
    ),
    "observer": ("lftool_observers", "ObserverType", ('factory=lazily("$module.observer:observer")',)),
    "check": (
        "lftool_checks",
        "CheckType",
        ('options=lazily("$module.check:Options")', 'factory=lazily("$module.check:Check")'),
    ),
    "exporter": (
        "lftool_exporters",
        "ExporterType",
        ('options=lazily("$module.exporter:Options")', 'factory=lazily("$module.exporter:Exporter")'),
    ),
    "command": ("lftool_commands", "CommandType", ('factory=lazily("$module.command:command")',)),
}
# Kinds that the test kits do not fully cover, and what their examples import from `lftool.testing`.
_EXAMPLES = {
    "source": ("Served", "large_model"),
    "quantizer": ("Work", "tiny_gguf"),
    "check": ("CheckExample", "FakeCheckContext"),
}
_LINE = 88
KINDS = tuple(_KINDS)
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")


def _texts(kinds: Sequence[str], words: dict[str, str]) -> dict[str, str]:
    """Return path to text for all files."""
    module, folder = words["module"], resources.files("lftool.templates") / "plugin"

    def text(name: str) -> str:
        return Template((folder / f"{name}.txt").read_text(encoding="utf-8")).safe_substitute(words)

    files = {name: text(name) for name in ("pyproject.toml", "README.md")}
    files[f"src/{module}/py.typed"] = ""
    files[f"src/{module}/__init__.py"] = Template(_init(kinds)).safe_substitute(words)
    if any(kind in _EXAMPLES for kind in kinds):
        imported = sorted({name for kind in kinds if kind in _EXAMPLES for name in _EXAMPLES[kind]}, key=_order)
        api = ["from lftool.api import QuantizerType"] if "quantizer" in kinds else []
        parts = [text(f"example_{kind}.py") for kind in kinds if kind in _EXAMPLES]
        lines = [*api, f"from lftool.testing import {', '.join(imported)}", ""]
        files[f"src/{module}/examples.py"] = text("examples.py") + "\n".join(lines) + "".join(parts)
    for kind in kinds:
        files[f"src/{module}/{kind}.py"] = text(f"{kind}.py")
        files[f"tests/test_{module}_{kind}.py"] = text(f"test_{kind}.py")
    return files


def _imports(names: Sequence[str]) -> list[str]:
    """Return the lines of an import as formatters write them."""
    line = f"from lftool.api import {', '.join(names)}"
    if len(line) <= _LINE:
        return [line]
    return ["from lftool.api import (", *(f"    {name}," for name in names), ")"]


def _order(name: str) -> tuple[bool, str]:
    """Return a key that sorts names like linters do: classes before functions."""
    return name.islower(), name


def _init(kinds: Sequence[str]) -> str:
    examples = [kind for kind in kinds if kind in _EXAMPLES]
    records = sorted([*(_KINDS[kind][1] for kind in kinds), *(["Example"] if examples else [])])
    lazy = ["lazily"] if any("lazily" in field for kind in kinds for field in _KINDS[kind][2]) else []
    lines = [
        '"""lftool plugin $name. Imported whenever lftool looks for plugins, so it only says what there is."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Iterator",
        "",
        *_imports([*records, "hookimpl", *lazy]),
        "",
        f"LFTOOL_API = {LFTOOL_API_VERSION}  # the version that it is written for",
    ]
    for kind in kinds:
        hook, record, fields = _KINDS[kind]
        lines += [
            "",
            "",
            "@hookimpl",
            f"def {hook}() -> Iterator[{record}]:",
            f'    """The {kind}."""',
            f"    yield {record}(",
            '        name="$name",',
            f'        summary="the {kind} of lftool-$name",',
            *(f"        {field}," for field in fields),
            "    )",
        ]
    if examples:
        lines += ["", "", "@hookimpl", "def lftool_examples() -> Iterator[Example]:"]
        lines += ['    """What `lftool plugins test $name` tries it with."""']
        lines += [
            f'    yield Example(name="$name", summary="{kind}", of={_KINDS[kind][1]}, make=lazily("$module.examples:{kind}"))'
            for kind in examples
        ]
    return "\n".join(lines) + "\n"


def new_plugin(name: str, kinds: Sequence[str], parent: Path) -> list[Path]:
    """Write a plugin project to `parent`/lftool-NAME, and return its files.

    Args:
        name: Name of its entry point and of what it provides.
        kinds: Kinds from `KINDS`.
        parent: An existing folder.

    Raises:
        UsageError: The name is invalid, or the folder exists; then nothing is written.
        StorageError: It cannot be written.
    """
    if not _NAME.match(name):
        raise UsageError(f"{name!r} is not a plugin name: use lower-case letters, digits, and - between them")
    root = parent / f"lftool-{name}"
    if root.exists() or root.is_symlink():
        raise UsageError(f"{root} already exists; nothing was written", hints=("choose another name, or --into DIR",))
    module = f"lftool_{name.replace('-', '_')}"
    scheme = name.replace("-", "")
    words = {
        "name": name,
        "module": module,
        "scheme": scheme,
        "shout": name.upper().replace("-", "_"),
        "kinds": ", ".join(kinds),
    }
    written = []
    try:
        for path, text in _texts(list(dict.fromkeys(kinds)), words).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            written.append(root / path)
    except OSError as error:
        raise StorageError(f"cannot write {root}: {error.strerror}") from error
    return written
