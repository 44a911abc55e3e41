"""What a recipe changes in the header of the weights, and whether a model's keys allow it."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lftool.errors import FormatError, RecipeError
from lftool.formats.gguf_edit import TYPES, EditValue, KeyEdit, edited_header, entry, plain_edits
from lftool.formats.gguf_keys import is_own, is_reserved, is_standard, known_type
from lftool.models.reals import canonical_real
from lftool.pipeline.model.headers import header_of
from lftool.pipeline.model.weights import weights_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import Lock
    from lftool.models.recipe import Recipe
    from lftool.pipeline.ports import Ports

TEMPLATE_KEY = "tokenizer.chat_template"
MOST_TEMPLATE = 1024 * 1024
_KEY = re.compile(r"[a-z0-9_][a-z0-9_-]*(?:\.[A-Za-z0-9_-]+)+\Z")
_MOST_KEY = 256
_U32, _I32 = 2**32, 2**31
# Sampling settings of the run contract, and the keys that llama.cpp reads (llama-arch.cpp, general.sampling.*).
_SAMPLING = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
}


@frozen(kw_only=True)
class HeaderEdits:
    """Keys to set and to remove.

    Attributes:
        edits: Keys to set, sorted; the template's value is empty until it is known.
        removed: Keys to remove, sorted.
        template: Whether the chat template is set.
    """

    edits: tuple[KeyEdit, ...]
    removed: tuple[str, ...] = ()
    template: bool = False

    def plain(self, template: Digest | None) -> dict[str, object]:
        """Return them as plain data, for an action."""
        return plain_edits(self.edits, self.removed, {} if template is None else {TEMPLATE_KEY: template.hex})

    def with_template(self, text: str) -> tuple[KeyEdit, ...]:
        """Return the keys to set, with the template's text."""
        return tuple(
            KeyEdit(key=item.key, type=item.type, value=text) if self.template and item.key == TEMPLATE_KEY else item
            for item in self.edits
        )


@frozen
class _Where:
    """A place in the recipe, for messages."""

    path: str = field()

    def refuse(self, message: str, *hints: str) -> RecipeError:
        """Return the error."""
        return RecipeError(f"lftool.toml: $.{self.path}: {message}", hints=hints)


def header_edits(recipe: Recipe) -> HeaderEdits | None:
    """Return what a recipe changes in the header of the weights; None if nothing.

    Raises:
        RecipeError: A key is reserved or unknown, a value has no type, or something is set twice.
    """
    found: dict[str, tuple[KeyEdit, str]] = {}
    for edit, path in _wanted(recipe):
        if edit.key in found:
            raise _Where(path).refuse(f"{edit.key} is set by {found[edit.key][1]} as well")
        found[edit.key] = (edit, path)
    model = recipe.model
    removed = tuple(sorted(model.metadata.remove))
    for key in removed:
        where = _Where("model.metadata.remove")
        if key in found:
            raise where.refuse(f"{key} is set by {found[key][1]}")
        _check_key(key, where)
    if not found and not removed:
        return None
    edits = tuple(found[key][0] for key in sorted(found))
    return HeaderEdits(edits=edits, removed=removed, template=model.template is not None)


def _wanted(recipe: Recipe) -> Iterator[tuple[KeyEdit, str]]:
    """Yield the keys that a recipe sets, each with its place in the recipe."""
    model = recipe.model
    for name, text in {"name": model.name, "author": model.author, "license": model.license}.items():
        if text is not None:
            yield KeyEdit(key=f"general.{name}", type="string", value=text), f"model.{name}"
    if model.tags:
        yield KeyEdit(key="general.tags", type="[string]", value=model.tags), "model.tags"
    if model.template is not None:
        yield KeyEdit(key=TEMPLATE_KEY, type="string", value=""), "model.template"
    for edit in _published(recipe):
        yield edit, "run.publish"
    for key, value in sorted(model.metadata.set.items()):
        yield _edit(key, value), f"model.metadata.set.{key}"


def _published(recipe: Recipe) -> list[KeyEdit]:
    run = recipe.run
    if not run.publish:
        return []
    found = []
    for name, key in _SAMPLING.items():
        value = getattr(run, name)
        if value is not None:
            kind = known_type(key) or ""
            found.append(KeyEdit(key=key, type=kind, value=_single(value) if kind == "f32" else value))
    if not found:
        raise _Where("run.publish").refuse(
            "[run] has no sampling setting to publish", f"set one of {', '.join(_SAMPLING)}, or leave it out"
        )
    return found


def _single(text: str) -> float:
    """Return a canonical real as the nearest 32-bit float."""
    value: float = struct.unpack("<f", struct.pack("<f", float(text)))[0]
    return value


def _check_key(key: str, where: _Where) -> None:
    if not _KEY.match(key) or len(key) > _MOST_KEY:
        raise where.refuse(f"{key!r} is not a GGUF key: lower-case parts of letters, digits, _ and -, joined by dots")
    if is_reserved(key):
        raise where.refuse(f"{key} says what the tensors or the vocabulary are; it cannot be changed")
    first = key.partition(".")[0]
    if first in {"general", "tokenizer"} and known_type(key) is None:
        raise where.refuse(
            f"{key} is no key that llama.cpp knows", "a key of your own needs a prefix of your own, such as example.key"
        )


def _edit(key: str, value: Any) -> KeyEdit:  # noqa: ANN401 - of a recipe
    where = _Where(f"model.metadata.set.{key}")
    _check_key(key, where)
    known = known_type(key)
    kind = known
    if isinstance(value, dict):
        if set(value) != {"type", "value"} or not isinstance(value["type"], str):
            raise where.refuse('expected a value, or { type = "f32", value = 0.5 }')
        kind, value = value["type"], value["value"]
        if kind.strip("[]") not in TYPES or kind not in {kind.strip("[]"), f"[{kind.strip('[]')}]"}:
            raise where.refuse(f"{kind!r} is not a type; there are {', '.join(TYPES)}, and arrays such as [string]")
        if known not in {None, kind}:
            raise where.refuse(f"it is of type {known}, not {kind}")
    kind = kind or _natural(value)
    if kind is None:
        raise where.refuse(
            "its type does not follow from the value",
            'name it: { type = "f32", value = 0.5 }; or u32, i32, [string], …',
        )
    try:
        edit = KeyEdit(key=key, type=kind, value=_typed(kind, value))
        entry(edit)
    except ValueError as error:
        raise where.refuse(str(error)) from None
    return edit


def _natural(value: Any) -> str | None:  # noqa: ANN401 - of a recipe
    """Return the type of a value that needs none to be named; reals need one, since a slice holds them as text."""
    match value:
        case bool():
            return "bool"
        case int() if 0 <= value < _U32:
            return "u32"
        case int() if -_I32 <= value < 0:
            return "i32"
        case str():
            return "string"
        case [*items] if items and all(isinstance(item, str) for item in items):
            return "[string]"
        case [*items] if items and all(type(item) is int and -_I32 <= item < _I32 for item in items):
            return "[i32]"
        case _:
            return None


def _typed(kind: str, value: Any) -> EditValue:  # noqa: ANN401 - of a recipe
    """Return a value of a recipe as one of its type; of a real, the nearest that the type has.

    Raises:
        ValueError: It is not of the type.
    """
    if kind.startswith("["):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{value!r} is not an array")
        return tuple(_typed(kind.strip("[]"), item) for item in value)  # type: ignore[return-value]  # of one type
    if kind not in {"f32", "f64"}:
        return value  # type: ignore[no-any-return]  # `entry` checks it
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number")  # noqa: TRY004 - one error kind for callers
    text = canonical_real(value)
    return _single(text) if kind == "f32" else float(text)


def template_text(artifact: Artifact, ports: Ports) -> str:
    """Return the text of a chat template in the store.

    Raises:
        RecipeError: It is too large, or not text.
    """
    if artifact.size > MOST_TEMPLATE:
        raise RecipeError(f"model.template: the file has {artifact.size} bytes, at most {MOST_TEMPLATE} are read")
    try:
        return ports.store.blobs.require(artifact, "the chat template").read_bytes().decode()
    except UnicodeDecodeError:
        raise RecipeError("model.template: the file is not UTF-8 text") from None


def new_header(wanted: HeaderEdits, weights: Artifact, text: str, ports: Ports) -> bytes:
    """Return the header that weights in the store get.

    Args:
        wanted: What changes.
        weights: The weights; if they were converted and quantised in one pass, only their header has to be there.
        text: The chat template, if it is set.
        ports: The store.

    Raises:
        RecipeError: The keys of the weights do not allow it.
    """
    header = weights_header(weights, "the weights", ports)
    architecture = header.metadata.get("general.architecture")
    for key in (*(item.key for item in wanted.edits), *wanted.removed):
        named = architecture if isinstance(architecture, str) else ""
        if not is_standard(key, named) and not is_own(key, named):
            raise RecipeError(
                f"model.metadata: {key} is no key of the architecture {named} that llama.cpp knows",
                hints=("a key of your own needs a prefix of your own, such as example.key",),
            )
    path = None if ports.store.blobs.holds(weights) else header_of(weights, ports)
    with (path or ports.store.blobs.path(weights)).open("rb") as file:

        def read(start: int, size: int) -> bytes:
            file.seek(start)
            return file.read(size)

        try:
            return edited_header(header, read, wanted.with_template(text), wanted.removed)
        except (ValueError, FormatError) as error:
            raise RecipeError(f"model.metadata: {error}") from None


def locked_template(recipe: Recipe, lock: Lock) -> Digest | None:
    """Return the digest of the chat template that a lock pins; None if the recipe names none."""
    if recipe.model.template is None:
        return None
    files = lock.sources[recipe.model.template].files
    return files[0].sha256 if len(files) == 1 else None
